"""Entropic optimal transport between a large pool and a target: streamed and certified.

Problem: candidates j = 1..N with masses b_j, targets i = 1..M with masses a_i, costs C_ij:
    max over f of <a, f> + <b, g>,  g_j = -epsilon log sum_i a_i exp((f_i - C_ij) / epsilon).
The GOT-D score of a candidate is its calibrated -g_j: larger is chosen first. `CTransform` scores
any candidate from f alone. Arrays may be CPU or CUDA tensors, numpy arrays or memory maps.

problem      costs, log kernel, masses, penalties, mean cost
stream       passes over the pool in blocks, `CTransform`, `transport_plan`
newton       f on a sample of the pool: Newton's method, annealing of epsilon
solver       `solve`: sample, streamed passes, corrections
certificate  `Transport`, its bounds and marginal errors, `calibrate`, `overlap`
reference    exact linear program; Sinkhorn as GOT-D's released code runs it
resources    memory and time before a solve starts
divergence   Sinkhorn divergence, divergences of domains, sensitivity to epsilon
"""

from .certificate import Transport as Transport
from .certificate import calibrate as calibrate
from .certificate import overlap as overlap
from .divergence import Divergence as Divergence
from .divergence import Sensitivity as Sensitivity
from .divergence import domain_divergences as domain_divergences
from .divergence import epsilon_sensitivity as epsilon_sensitivity
from .divergence import sinkhorn_divergence as sinkhorn_divergence
from .problem import COSTS as COSTS
from .problem import Cost as Cost
from .problem import ParameterNames as ParameterNames
from .problem import Penalties as Penalties
from .problem import Regime as Regime
from .problem import cluster_masses as cluster_masses
from .problem import mean_cost as mean_cost
from .reference import released_sinkhorn as released_sinkhorn
from .resources import Forecast as Forecast
from .resources import forecast as forecast
from .solver import solve as solve
from .stream import CTransform as CTransform
from .stream import Plan as Plan
from .stream import transport_plan as transport_plan

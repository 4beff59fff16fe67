"""Optimal transport between a large pool and a target: fast, streamed, certified.

`solve` once, then score any candidate, seen or not, with `c_transform`. Every function is pure and
works on CPU and CUDA tensors and on memory-mapped arrays.
"""

from .costs import COSTS as COSTS
from .costs import Cost as Cost
from .divergence import Divergence as Divergence
from .divergence import Sensitivity as Sensitivity
from .divergence import epsilon_sensitivity as epsilon_sensitivity
from .divergence import sinkhorn_divergence as sinkhorn_divergence
from .forecasting import Forecast as Forecast
from .forecasting import forecast as forecast
from .inputs import cluster_masses as cluster_masses
from .released import released_sinkhorn as released_sinkhorn
from .result import Regime as Regime
from .result import Transport as Transport
from .result import calibrate as calibrate
from .result import overlap as overlap
from .sample import Penalties as Penalties
from .scale import scale_of as scale_of
from .solver import solve as solve
from .stream import CTransform as CTransform
from .stream import c_transform as c_transform
from .words import Words as Words

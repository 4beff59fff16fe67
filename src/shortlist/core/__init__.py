"""Frozen types, without input or output: Corpus, Features, TargetSpec, Selection, Metric, Record.

A document is identified by its content: its id is a hash of it. A corpus has the hash of its
ordered ids, and whatever is computed from a corpus carries that hash: what belongs to another
corpus is refused, so that no document gets the vector of another.
"""

from shortlist.core.corpus import ID_CHARACTERS as ID_CHARACTERS
from shortlist.core.corpus import LARGEST_MASS as LARGEST_MASS
from shortlist.core.corpus import SMALLEST_MASS as SMALLEST_MASS
from shortlist.core.corpus import Corpus as Corpus
from shortlist.core.corpus import Features as Features
from shortlist.core.corpus import added_masses as added_masses
from shortlist.core.corpus import digest as digest
from shortlist.core.corpus import document_id as document_id
from shortlist.core.record import MANTISSA_BITS as MANTISSA_BITS
from shortlist.core.record import READS as READS
from shortlist.core.record import UNITS as UNITS
from shortlist.core.record import Axes as Axes
from shortlist.core.record import Metric as Metric
from shortlist.core.record import Record as Record
from shortlist.core.record import Role as Role
from shortlist.core.record import StageCost as StageCost
from shortlist.core.record import Status as Status
from shortlist.core.record import charged_seconds as charged_seconds
from shortlist.core.record import pack_item_scores as pack_item_scores
from shortlist.core.record import unpack_item_scores as unpack_item_scores
from shortlist.core.selection import Budget as Budget
from shortlist.core.selection import Selection as Selection
from shortlist.core.targets import TargetSpec as TargetSpec

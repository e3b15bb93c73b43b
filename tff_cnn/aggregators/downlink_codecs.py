"""Codecs of the model on its way to the clients.

prune  the largest weights and where they are: `compression.top_k`
int8   the nearest of 255 levels, symmetric about zero (Jacob et al. 2018),
       in a code of at most 8 bits: `compression.quantize`
"""

from tff_cnn.aggregators.codecs import Codec
from tff_cnn.aggregators.compression.quantize import UniformLevels
from tff_cnn.aggregators.compression.top_k import TopK


def build_prune(downlink_sparsity: float) -> Codec:
    """Builds the codec.

    Args:
      downlink_sparsity: Share of all weights together that is left out.
    """
    return TopK(1 - downlink_sparsity)


def build_int8() -> Codec:
    """Builds the codec."""
    return UniformLevels(8, is_stochastic=False)

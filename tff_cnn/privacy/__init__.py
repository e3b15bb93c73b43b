"""Mechanisms, the accountant that counts them, and calibration."""

from tff_cnn.core.registry import Registry

MECHANISMS = Registry(
    "differential privacy mechanism (--dp)",
    {
        "fixed_clip": "tff_cnn.privacy.mechanism:FixedClipGaussian",
        "adaptive_clip": "tff_cnn.privacy.mechanism:AdaptiveClipGaussian",
    },
)

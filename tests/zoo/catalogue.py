"""All cases."""

from __future__ import annotations

from . import (
    cases_fields,
    cases_graph,
    cases_images,
    cases_library,
    cases_lightning,
    cases_sequences,
    cases_shapes,
    cases_text,
)
from .case import Case

CASES: list[Case] = [
    *cases_images.CASES,
    *cases_sequences.CASES,
    *cases_shapes.CASES,
    *cases_lightning.CASES,
    *cases_text.CASES,
    *cases_library.CASES,
    *cases_graph.CASES,
    *cases_fields.CASES,
]

OPEN: dict[str, str] = {}
"""Cases that are not right at all sizes, with the cause; see docs/limits.md."""

EXTRA = frozenset(OPEN) | frozenset(
    {
        "graph/gatv2",
        "graph/sage",
        "graph/transformer_conv",
        "library/monai_segresnet",
        "library/monai_swinunetr",
        "library/monai_unet",
        "library/smp_deeplabv3plus",
        "library/smp_fpn",
        "library/smp_manet",
        "library/smp_pspnet",
        "library/smp_segformer",
        "library/timm_convnext_atto",
        "library/timm_edgenext_xx_small",
        "library/timm_mixer_s32_224",
        "library/timm_mobilenetv3_small_050_multiscale",
        "library/timm_mobilenetv4_conv_small",
        "library/timm_regnety_002",
        "library/timm_resnet18_features",
        "library/timm_vit_tiny_patch16_224",
        "sequence/packed_gru",
        "text/albert",
        "text/bart",
        "text/beit",
        "text/bert_drop_last_types",
        "text/bert_masked_lm",
        "text/bloom_alibi",
        "text/convnext_multiscale",
        "text/detr",
        "text/distilbert",
        "text/dpt",
        "text/electra",
        "text/gemma",
        "text/gpt2_no_cache",
        "text/hubert",
        "text/layoutlm",
        "text/mamba",
        "text/mistral_window",
        "text/mixtral_experts",
        "text/mobilebert",
        "text/mobilevit",
        "text/modernbert",
        "text/mpnet",
        "text/opt",
        "text/qwen2_cache",
        "text/roberta",
        "text/segformer_upsampled",
        "text/swinv2",
        "text/t5",
        "text/upernet_multiscale",
        "text/videomae",
    }
)
"""Cases similar to others, run only by ``python -m tests.zoo``: the tests of the others already take minutes."""

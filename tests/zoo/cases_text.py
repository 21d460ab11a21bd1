"""Hugging Face transformers from tiny configurations: text, speech, images, two towers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from .case import Case, Lit, LitKwargs, LitXY, any_loss, first, images, keywords

SMALL = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 64,
}  # fmt: skip
LLAMA = SMALL | {"num_key_value_heads": 1}
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 32,
    "patch_size": 8,
}


def tokens(labels: str = "row", **more: Callable[[int, int], torch.Tensor]) -> Callable[[int, int], Any]:
    """Ids with padding at the end, and labels: one per row, one per token, or none."""

    def batch(b: int, v: int) -> dict[str, torch.Tensor]:
        n = 8 + 4 * v
        mask = torch.ones(b, n, dtype=torch.long)
        mask[-1, n - 3 :] = 0
        ids = torch.randint(3, 60, (b, n)) * mask + (1 - mask)
        found = {"input_ids": ids, "attention_mask": mask, **{key: make(b, n) for key, make in more.items()}}
        if labels != "none":
            found["labels"] = torch.zeros(b, dtype=torch.long) if labels == "row" else ids.clone().clamp(max=1)
        return found

    return batch


def hf(
    name: str, config: str, model: str, batch: Any, varies: bool = True, wrap: type = LitKwargs, **options: Any
) -> Case:
    """A model of ``transformers`` from a configuration."""
    left_out = options.pop("left_out", ("labels",))
    more = {key: options.pop(key) for key in ("fast", "limit", "batched") if key in options}

    def make() -> pl.LightningModule:
        import transformers

        return wrap(getattr(transformers, model)(getattr(transformers, config)(**options)))

    call = first if issubclass(wrap, LitXY) else keywords(*left_out)
    return Case(f"text/{name}", make, batch, call, varies, needs=("transformers",), **more)


class LitSentence(Lit):
    """Mean pooling over the mask, and a normalized embedding: a typical use of BERT."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.encoder = net

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).expand(hidden.size()).float()
        pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(pooled, p=2, dim=1)

    def step(self, batch):
        return any_loss(self(batch["input_ids"], batch["attention_mask"]))


class LitLora(LitKwargs):
    """Adapters by peft."""

    def __init__(self, net: nn.Module) -> None:
        import peft

        super().__init__(peft.get_peft_model(net, peft.LoraConfig(r=2, target_modules=["query", "value"])))
        for name, weight in self.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(weight, std=0.1)


class LitHidden(Lit):
    """Calls the model by keyword and returns the whole ModelOutput with hidden states and attentions."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.bert = net

    def forward(self, input_ids, attention_mask=None, labels=None):
        return self.bert(
            input_ids, attention_mask=attention_mask, labels=labels, output_hidden_states=True, output_attentions=True
        )

    def step(self, batch):
        return self(**batch).loss


class LitPixels(LitXY):
    """A pipeline of pixels to logits: ``forward(pixel_values)`` and ``.logits``."""

    def forward(self, pixel_values):
        return self.net(pixel_values=pixel_values).logits


class LitSegment(LitPixels):
    """Logits resized to the image."""

    def forward(self, pixel_values):
        logits = self.net(pixel_values=pixel_values).logits
        return nn.functional.interpolate(logits, size=pixel_values.shape[-2:], mode="bilinear", align_corners=False)


class LitVision(LitXY):
    """The unchanged outputs of the vision towers."""

    def forward(self, pixel_values):
        return self.net(pixel_values=pixel_values)


def sounds(b: int, v: int) -> dict[str, torch.Tensor]:
    return {"input_values": torch.randn(b, 800 + 240 * v), "labels": torch.ones(b, 3, dtype=torch.long)}


def padded_sounds(b: int, v: int) -> dict[str, torch.Tensor]:
    n = 800 + 240 * v
    mask = torch.ones(b, n, dtype=torch.long)
    mask[-1, -200:] = 0
    return {
        "input_values": torch.randn(b, n) * mask,
        "attention_mask": mask,
        "labels": torch.ones(b, 3, dtype=torch.long),
    }


def pixels(*sizes: tuple[int, int], **more: Any) -> Callable[[int, int], Any]:
    def batch(b: int, v: int) -> dict[str, torch.Tensor]:
        h, w = sizes[v % len(sizes)]
        return {"pixel_values": torch.randn(b, 3, h, w), **{key: make(b, v) for key, make in more.items()}}

    return batch


def row_labels(b: int, v: int) -> torch.Tensor:
    return torch.zeros(b, dtype=torch.long)


def encoder_decoder(b: int, v: int) -> dict[str, torch.Tensor]:
    return tokens("none", decoder_input_ids=lambda b, n: torch.randint(3, 60, (b, n - 3)))(b, v)


def image_text(b: int, v: int) -> dict[str, torch.Tensor]:
    return tokens("none")(b, v) | {"pixel_values": torch.randn(b, 3, 32, 32)}


TEXT = {k: v for k, v in SMALL.items() if k != "hidden_size"} | {
    "hidden_size": 16,
    "projection_dim": 8,
    "eos_token_id": 59,
}
SPEECH = {
    "vocab_size": 12, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "conv_dim": (8, 8), "conv_stride": (5, 4), "conv_kernel": (10, 8), "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 2, "mask_time_prob": 0.0, "mask_feature_prob": 0.0,
}  # fmt: skip
SEGFORMER = {
    "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 16,
    "num_labels": 3,
}  # fmt: skip
SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 2], "window_size": 4}

CASES = [
    hf("bert_classify", "BertConfig", "BertForSequenceClassification", tokens(), **SMALL),
    hf("bert_masked_lm", "BertConfig", "BertForMaskedLM", tokens("token"), **SMALL),
    hf("bert_drop_last_types", "BertConfig", "BertForTokenClassification",
       tokens("token", token_type_ids=lambda b, n: torch.zeros(b, n, dtype=torch.long)), num_labels=2, **SMALL),
    hf("bert_hidden_states", "BertConfig", "BertForSequenceClassification", tokens(), wrap=LitHidden,
       attn_implementation="eager", **SMALL),
    hf("sentence_embedding", "BertConfig", "BertModel", tokens("none"), wrap=LitSentence, **SMALL),
    hf("bert_lora", "BertConfig", "BertForSequenceClassification", tokens(), wrap=LitLora, **SMALL),
    hf("distilbert", "DistilBertConfig", "DistilBertForTokenClassification", tokens("token"), vocab_size=60, dim=16, n_layers=2,
       n_heads=2, hidden_dim=24),
    hf("roberta", "RobertaConfig", "RobertaForMaskedLM", tokens("token"), **SMALL),
    hf("albert", "AlbertConfig", "AlbertForSequenceClassification", tokens(), embedding_size=8, **SMALL),
    hf("electra", "ElectraConfig", "ElectraForPreTraining", tokens("token"), embedding_size=8, **SMALL),
    hf("mobilebert", "MobileBertConfig", "MobileBertForSequenceClassification", tokens(), embedding_size=16,
       intra_bottleneck_size=16, true_hidden_size=16, **SMALL),
    hf("deberta_v2", "DebertaV2Config", "DebertaV2ForSequenceClassification", tokens(), relative_attention=True,
       position_buckets=8, pos_att_type=["p2c", "c2p"], norm_rel_ebd="layer_norm", share_att_key=True, **SMALL),
    hf("mpnet", "MPNetConfig", "MPNetForSequenceClassification", tokens(), **SMALL),
    hf("modernbert", "ModernBertConfig", "ModernBertForMaskedLM", tokens("token"), pad_token_id=0, bos_token_id=1, eos_token_id=2,
       cls_token_id=1, sep_token_id=2, **SMALL),
    hf("gpt2_cache", "GPT2Config", "GPT2LMHeadModel", tokens("token"), vocab_size=60, n_embd=16, n_layer=2, n_head=2, n_positions=64),
    hf("gpt2_no_cache", "GPT2Config", "GPT2LMHeadModel", tokens("token"), vocab_size=60, n_embd=16, n_layer=2, n_head=2,
       n_positions=64, use_cache=False),
    hf("llama", "LlamaConfig", "LlamaForCausalLM", tokens("token"), use_cache=False, **LLAMA),
    hf("mistral_window", "MistralConfig", "MistralForCausalLM", tokens("token"), use_cache=False, sliding_window=6, **LLAMA),
    hf("qwen2_cache", "Qwen2Config", "Qwen2ForSequenceClassification", tokens(), pad_token_id=1, **LLAMA),
    hf("gemma", "GemmaConfig", "GemmaForCausalLM", tokens("token"), use_cache=False, head_dim=8, **LLAMA),
    hf("opt", "OPTConfig", "OPTForCausalLM", tokens("token"), use_cache=False, vocab_size=60, hidden_size=16, num_hidden_layers=2,
       num_attention_heads=2, ffn_dim=24, max_position_embeddings=64, word_embed_proj_dim=16),
    hf("bloom_alibi", "BloomConfig", "BloomForCausalLM", tokens("token"), use_cache=False, vocab_size=60, hidden_size=16,
       n_layer=2, n_head=2),
    hf("mixtral_experts", "MixtralConfig", "MixtralForCausalLM", tokens("token"), use_cache=False, num_local_experts=3,
       limit="transformers runs the experts in an operator of its own", **LLAMA),
    hf("mamba", "MambaConfig", "MambaForCausalLM", lambda b, v: {"input_ids": torch.randint(3, 60, (b, 6 + 2 * v))}, use_cache=False,
       limit="its CPU path is a loop of Python over the tokens", vocab_size=60, hidden_size=16, num_hidden_layers=1, state_size=4),
    hf("t5", "T5Config", "T5ForConditionalGeneration", encoder_decoder, use_cache=False, vocab_size=60, d_model=16, d_kv=8, d_ff=24,
       num_layers=2, num_heads=2),
    hf("t5_labels", "T5Config", "T5ForConditionalGeneration", tokens("token"), left_out=(), use_cache=False, vocab_size=60,
       d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0),
    hf("bart", "BartConfig", "BartForConditionalGeneration", encoder_decoder, use_cache=False, vocab_size=60, d_model=16,
       encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24,
       decoder_ffn_dim=24, max_position_embeddings=64),
    hf("vit", "ViTConfig", "ViTForImageClassification", pixels((32, 32), labels=row_labels), False, **VIT),
    hf("dinov2_multiscale", "Dinov2Config", "Dinov2ForImageClassification", pixels((32, 32), (48, 40), (64, 48)), hidden_size=16,
       num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8),
    hf("beit", "BeitConfig", "BeitForImageClassification", pixels((32, 32), labels=row_labels), False, **VIT),
    hf("swin", "SwinConfig", "SwinForImageClassification", pixels((32, 32), labels=row_labels), False, **SWIN),
    hf("swinv2", "Swinv2Config", "Swinv2ForImageClassification", pixels((32, 32), labels=row_labels), False, **SWIN),
    hf("convnext_multiscale", "ConvNextConfig", "ConvNextForImageClassification", pixels((32, 32), (64, 48), (96, 80)),
       hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1]),
    hf("mobilevit", "MobileViTConfig", "MobileViTForImageClassification", pixels((64, 64), labels=row_labels), False,
       hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 24, 32], num_attention_heads=2),
    hf("segformer_multiscale", "SegformerConfig", "SegformerForSemanticSegmentation", pixels((64, 64), (96, 128), (128, 96)),
       **SEGFORMER),
    hf("segformer_upsampled", "SegformerConfig", "SegformerForSemanticSegmentation", images((3, 64, 64), (3, 96, 128), (3, 128, 96)),
       wrap=LitSegment, **SEGFORMER),
    hf("upernet_multiscale", "UperNetConfig", "UperNetForSemanticSegmentation", images((3, 64, 64), (3, 96, 128), (3, 128, 96)),
       wrap=LitPixels, hidden_size=16, num_labels=3, use_auxiliary_head=False, pool_scales=[1, 2, 3, 6]),
    hf("dpt", "DPTConfig", "DPTForSemanticSegmentation", images((3, 32, 32)), False, wrap=LitPixels, hidden_size=16,
       num_hidden_layers=4, num_attention_heads=2, intermediate_size=24, image_size=32, patch_size=8, backbone_out_indices=[0, 1, 2, 3],
       neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, num_labels=3, is_hybrid=False),
    hf("detr", "DetrConfig", "DetrForObjectDetection", images((3, 64, 64)), False, wrap=LitVision, d_model=16, encoder_layers=1,
       decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, num_queries=5,
       num_labels=3),
    hf("wav2vec2_ctc", "Wav2Vec2Config", "Wav2Vec2ForCTC", sounds, **SPEECH),
    hf("wav2vec2_mask", "Wav2Vec2Config", "Wav2Vec2ForCTC", padded_sounds, feat_extract_norm="layer", do_stable_layer_norm=True, **SPEECH),
    hf("hubert", "HubertConfig", "HubertForCTC", sounds, **SPEECH),
    hf("whisper", "WhisperConfig", "WhisperForConditionalGeneration",
       lambda b, v: {"input_features": torch.randn(b, 8, 32), "decoder_input_ids": torch.randint(3, 60, (b, 4 + 2 * v))},
       vocab_size=60, num_mel_bins=8, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
       decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_source_positions=16, max_target_positions=32,
       use_cache=False, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None,
       begin_suppress_tokens=None),
    hf("audio_spectrogram", "ASTConfig", "ASTForAudioClassification",
       lambda b, v: {"input_values": torch.randn(b, 32, 16), "labels": row_labels(b, v)}, False, hidden_size=16, num_hidden_layers=1,
       num_attention_heads=2, intermediate_size=24, max_length=32, num_mel_bins=16, patch_size=8, frequency_stride=8, time_stride=8),
    hf("clip", "CLIPConfig", "CLIPModel", image_text, projection_dim=8, text_config=TEXT, vision_config=VIT | {"projection_dim": 8}),
    hf("layoutlm", "LayoutLMConfig", "LayoutLMForTokenClassification",
       tokens("token", bbox=lambda b, n: torch.randint(0, 60, (b, n, 4)).sort(-1).values), max_2d_position_embeddings=64, **SMALL),
    hf("videomae", "VideoMAEConfig", "VideoMAEForVideoClassification",
       lambda b, v: {"pixel_values": torch.randn(b, 4, 3, 32, 32), "labels": row_labels(b, v)}, False, num_frames=4, tubelet_size=2, **VIT),
    hf("patchtst", "PatchTSTConfig", "PatchTSTForPrediction", lambda b, v: {"past_values": torch.randn(b, 32, 3)}, False,
       num_input_channels=3, context_length=32, patch_length=8, patch_stride=8, prediction_length=6, d_model=16, ffn_dim=24,
       num_hidden_layers=1, num_attention_heads=2),
]  # fmt: skip

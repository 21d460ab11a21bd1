"""What the name of a metric tells: whether higher or lower is better, and whether it is a share of samples."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

Mode = Literal["min", "max"]
"""As ``mode`` of Lightning's ``ModelCheckpoint``: whether lower or higher is better."""

_TRAINING_LOSSES = (
    r".*loss|nll|bce|ce|cross|crossentropy|entropy|perplexity|ppl|bpc|bpb|kl|kld|brier|ece|focal|hinge"
    r"|err|errs|errors?|hamming|eer|fpr|fnr|far|frr"
)
"""Losses of classifiers and shares of wrong answers: they say less than the share of right ones."""

_ERRORS = (
    r"mse|rmse|mae|mape|smape|msle|rmsle|nrmse|wape|wmape|mase|medae|mad|l1|l2|absolute|squared|pinball|quantile|deviance"
    r"|poisson|logcosh|cosh|huber|gamma|tweedie|rse|regret|crps|divergence|js|jsd|fid|kid|lpips|wer|cer|mer|ter|der"
    r"|dist|distance|distances|hausdorff|chamfer|epe|wasserstein|emd|sam|ergas|nme|mpjpe|ade|fde"
)
"""Errors with a meaning of their own, which no accuracy replaces."""

_SHARES = (
    r"acc|accs|accuracy|accuracies|f|f1|f2|fbeta|fscore|precision|prec|recall|sensitivity|specificity|tpr|tnr|ppv|npv"
    r"|hits?|correct|top|em|exact|iou|miou|giou|jaccard|dice|auc|auroc|rocauc|auprc|prauc|roc|aupr|ap|map|mar|mrr|ndcg|kappa|mcc"
    r"|matthews|youden|purity|pq"
)
"""Shares of samples, and other measures from 0 to 1 that follow from which answers are right or from their order."""

_OTHER_GOOD = (
    r"r2|score|scores|psnr|ssim|msssim|pearson|spearman|kendall|pcc|srcc|plcc|corr|correlation|corrcoef|concordance|ccc"
    r"|cindex|explained|similarity|bleu|sacrebleu|rouge|rouge[l12]|meteor|chrf|cider|spice|bertscore|nmi|ari|silhouette|reward|return"
    r"|snr|sdr|sisdr|sisnr|stoi|pesq|evs|likelihood|loglikelihood|gain|skill|nse|kge"
)
"""Measures that are better when higher, which say little of the size of an error."""

_PHRASES = {r"neg(ative)?_?log_?likelihood": "nll", r"(?<![a-z])r_?squared": "r2"}
"""Words that mean something else together."""

_NEGATED = r"neg|negative|minus"

_WORDS = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+")


def mode_of(name: str, known: Mapping[str, Mode] | None = None) -> Mode | None:
    """Tell whether a metric is better when lower or when higher; None if that is unknown.

    Args:
        name: Name of the metric, as it was logged.
        known: What is known of logged metrics, for example from ``ModelCheckpoint(monitor=..., mode=...)``.

    Example:
        >>> mode_of("val_loss"), mode_of("val/L1"), mode_of("MulticlassF1Score"), mode_of("val_x")
        ('min', 'min', 'max', None)
        >>> mode_of("val_x", {"val_x": "max"})
        'max'
    """
    own = _logged_as(name)
    for each in (name, own, re.sub(r"_epoch$", "", own)):
        if known and each in known:
            return known[each]
    if _has(name, _NEGATED):
        return None
    if is_training_loss(name) or _has(name, _ERRORS):
        return "min"
    return "max" if _has(name, _SHARES) or _has(name, _OTHER_GOOD) else None


def is_training_loss(name: str) -> bool:
    """Tell whether a metric is a loss or a share of wrong answers, which an accuracy makes unimportant.

    Example:
        >>> is_training_loss("val_loss"), is_training_loss("val_mse_loss"), is_training_loss("MeanSquaredError")
        (True, False, False)
    """
    return _has(name, _TRAINING_LOSSES) and not _has(name, _ERRORS)


def is_share(name: str) -> bool:
    """Tell whether a metric is a share of samples that is better when higher, such as an accuracy.

    Example:
        >>> is_share("val_acc"), is_share("val_hits@10"), is_share("val_r2"), is_share("dice_loss")
        (True, True, False, False)
    """
    return _has(name, _SHARES) and mode_of(name) == "max"


def modes_of_callbacks(trainer: Any) -> dict[str, Mode]:
    """Return by metric the ``mode`` of the callbacks that monitor it; where they disagree, nothing.

    Args:
        trainer: The Trainer, whose ``ModelCheckpoint`` and ``EarlyStopping`` callbacks are meant.
    """
    found: dict[str, set[Mode]] = {}
    for callback in getattr(trainer, "callbacks", ()):
        monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if isinstance(monitor, str) and mode in ("min", "max"):
            found.setdefault(monitor, set()).add(mode)
    return {name: modes.pop() for name, modes in found.items() if len(modes) == 1}


def _logged_as(name: str) -> str:
    """Return the name under which a metric was logged: with several loaders, Lightning adds which one it is of."""
    return re.sub(r"/dataloader_idx_\d+$", "", name)


def _has(name: str, table: str) -> bool:
    return any(re.fullmatch(table, word) or re.fullmatch(table, word.rstrip("0123456789")) for word in _words(name))


def _words(name: str) -> list[str]:
    """Return the words of a name, lowercase: of ``recall_at_fpr``, those before ``at``."""
    found: list[str] = []
    logged = _logged_as(name)
    for phrase, word in _PHRASES.items():
        logged = re.sub(phrase, word, logged, flags=re.IGNORECASE)
    for part in re.split(r"[^A-Za-z0-9]+", logged):
        if part.lower() == "at":
            break
        found += [part.lower(), *(word.lower() for word in _WORDS.findall(part))]
    return [word for word in dict.fromkeys(found) if word]

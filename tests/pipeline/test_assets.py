from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx import ArtifactError, ConfigurationError, ONNXArtifact, ONNXExport
from lightning_onnx.pipeline.assets import copy_assets
from lightning_onnx.report.snippet import snippet


def test_invalid_assets(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "x.json", tmp_path / "a" / "x.json"):
        path.write_text("{}")
    with pytest.raises(ConfigurationError, match="is not a list of paths"):
        ONNXExport(assets="tokenizer.json")
    with pytest.raises(ConfigurationError, match=r"assets has \['.*none\.json'\], which do not exist"):
        ONNXExport(assets=[tmp_path / "none.json"])
    with pytest.raises(ConfigurationError, match="has a path without a name"):
        ONNXExport(assets=[""])
    with pytest.raises(ConfigurationError, match="two of the same name"):
        ONNXExport(assets=[tmp_path / "x.json", tmp_path / "a" / "x.json"])
    (tmp_path / "a" / "a\u202fb.txt").write_text("")  # as macOS names a screenshot
    for asset in (tmp_path / "a", tmp_path / "a" / "a\u202fb.txt"):
        with pytest.raises(ConfigurationError, match="characters that cannot be printed"):
            ONNXExport(assets=[asset])


def test_files_and_directories_are_copied(tmp_path: Path) -> None:
    (tmp_path / "vocab" / "deep").mkdir(parents=True)
    (tmp_path / "vocab" / "deep" / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    staged = tmp_path / "staged"
    staged.mkdir()
    assert copy_assets([tmp_path / "vocab", str(tmp_path / "b.txt")], staged) == (
        "assets/b.txt",
        "assets/vocab/deep/a.txt",
    )
    assert (staged / "assets" / "vocab" / "deep" / "a.txt").read_text() == "a"
    assert copy_assets([], tmp_path) == ()
    with pytest.raises(ArtifactError, match=r"the asset gone\.txt cannot be copied"):
        copy_assets([tmp_path / "gone.txt"], staged)


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(8, 4), nn.Linear(4, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask[..., None].float()
        return self.head((self.embedding(input_ids) * mask).sum(1) / mask.sum(1))


@pytest.mark.slow
def test_the_snippet_uses_the_tokenizer(tmp_path: Path) -> None:
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "a", "another", "text"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    module = Text()
    made = lightning_onnx.export(
        module,
        (torch.randint(0, 5, (2, 2)), torch.ones(2, 2, dtype=torch.int64)),
        directory=tmp_path / "made",
        assets=[tmp_path / "tokenizer.json"],
        labels=["no", "yes"],
    )
    loaded = ONNXArtifact.load(made.directory)
    assert loaded.manifest["assets"] == ["assets/tokenizer.json"]
    assert loaded.record.files["assets/tokenizer.json"].bytes == (tmp_path / "tokenizer.json").stat().st_size
    code = snippet(loaded.record)
    done = subprocess.run([sys.executable, "-c", code], cwd=made.directory, capture_output=True, text=True, check=True)
    ids = torch.tensor([tokenizer.encode(text).ids for text in ("a text", "another text")])
    with torch.no_grad():
        expected = module(ids, torch.ones_like(ids)).softmax(1).max(1)
    names = ("no", "yes")
    lines = [f"{names[int(i)]}: {float(p):.1%}" for p, i in zip(expected.values, expected.indices, strict=True)]
    assert done.stdout.splitlines()[-2:] == lines
    (made.directory / "assets" / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json is"):
        ONNXArtifact.load(made.directory)

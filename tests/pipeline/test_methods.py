"""Several methods in one artifact: a file each, one manifest, one verdict."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx import ArtifactError, ConfigurationError, ONNXArtifact
from lightning_onnx.artifacts.data_set import find_data_sets, folder_of
from lightning_onnx.cli import main
from lightning_onnx.deploy import model_card
from lightning_onnx.deploy.hub import Hub
from lightning_onnx.deploy.triton import add_to_repository
from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.module.weights.source import Source
from lightning_onnx.pipeline import produce as produce_module
from lightning_onnx.pipeline.loaded import LoadedModule
from lightning_onnx.pipeline.methods import configs_of
from lightning_onnx.pipeline.prepare import prepare
from lightning_onnx.pipeline.produce import produce
from lightning_onnx.report.tables import size
from lightning_onnx.trackers.describe import summary
from tests import models, outside

BOTH = ["encode", "decode"]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ([], {}, "not a list of method names"),
        (["encode", 3], {}, "not a list of method names"),
        (["encode", "Encode"], {}, "twice"),
        (["encode", "assets"], {}, "name of a directory in artifacts"),
        (BOTH, {"input_names": ["x"]}, "which of the methods"),
        (BOTH, {"labels": ["cat"]}, "which of the methods"),
        (BOTH, {"output_names": {"encoder": ["x"]}}, "did you mean 'encode'"),
        (BOTH, {"dynamic_axes": {"x": {0: "batch"}}}, "with several methods its keys are methods"),
        (BOTH, {"preprocess": nn.Identity()}, "preprocess=... works with one method"),
        (BOTH, {"postprocess": "predict"}, "postprocess=... works with one method"),
        ("en code", {}, "not the name of a method"),
    ],
)
def test_what_does_not_go_together_is_told_before_training(method: Any, options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        configs_of(method, **options)


def test_options_by_method_and_for_all() -> None:
    axes = {"decode": {"z": {0: "rows"}}}
    encode, decode = configs_of(BOTH, opset_version=18, contract=False, dynamic_axes=axes, labels=None)
    assert (encode.method, decode.method) == ("encode", "decode")
    assert (encode.opset_version, decode.opset_version) == (18, 18)
    assert (encode.dynamic_axes, decode.dynamic_axes) == ("auto", {"z": {0: "rows"}})
    assert encode.contract is decode.contract is False
    assert [config.dynamic_axes for config in configs_of(BOTH, dynamic_axes=None)] == [None, None]
    assert [config.method for config in configs_of("forward", input_names=["x"])] == ["forward"]


@pytest.mark.parametrize("given", [{"sample": {"encode": torch.zeros(2, 6)}}, {"args": torch.zeros(2, 6)}, {}])
def test_export_needs_a_call_of_each_method(given: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="a call of each in sample"):
        lightning_onnx.export(models.VAE(), method=BOTH, directory=tmp_path / "x", **given)


@pytest.fixture(scope="module")
def vae() -> models.VAE:
    torch.manual_seed(0)
    return models.VAE().eval()


@pytest.fixture(scope="module")
def made(vae: models.VAE, tmp_path_factory: pytest.TempPathFactory) -> ONNXArtifact:
    return lightning_onnx.export(
        vae,
        method=BOTH,
        sample={"encode": torch.randn(3, 6), "decode": torch.randn(3, 2)},
        output_names={"decode": ["x"]},
        directory=tmp_path_factory.mktemp("methods") / "made",
        variants=["simplified"],
    )


@pytest.mark.slow
def test_each_method_has_a_file_that_is_right(vae: models.VAE, made: ONNXArtifact) -> None:
    x, z = torch.randn(5, 6), torch.randn(7, 2)
    mean, log_variance = outside.run(made.directory / "encode.onnx", x=x)
    (decoded,) = outside.run(made.directory / "decode.onnx", z=z)
    with torch.no_grad():
        np.testing.assert_allclose(mean, vae.encode(x)["mean"], atol=1e-5)
        np.testing.assert_allclose(log_variance, vae.encode(x)["log_variance"], atol=1e-5)
        np.testing.assert_allclose(decoded, vae.decode(z), atol=1e-5)
    assert outside.shapes(made.directory / "decode.onnx") == {"z": ["batch", 2], "x": ["batch", 6]}
    for method in BOTH:
        (data,) = find_data_sets(folder_of(made.directory / f"{method}.onnx"))
        assert data == made.directory / method / "test_data_set_0" == made.method(method).test_data
        assert folder_of(made.directory / f"{method}.simplified.onnx") == made.directory / method


@pytest.mark.slow
def test_one_manifest_has_them_all(made: ONNXArtifact) -> None:
    loaded = ONNXArtifact.load(made.directory)
    assert loaded.methods == ("encode", "decode")
    assert loaded.proven
    assert loaded.passed
    assert loaded.manifest["source"]["method"] == "encode"
    assert list(loaded.manifest["methods"]) == ["decode"]
    assert not {"files", "versions", "format_version", "methods"} & set(loaded.manifest["methods"]["decode"])
    assert {"encode.onnx", "decode.onnx", "encode.simplified.onnx"} <= set(loaded.manifest["files"])
    assert loaded.record.to_dict() == loaded.manifest == made.manifest
    decode = loaded.method("decode")
    assert (decode.methods, decode.model_path.name) == (("decode",), "decode.onnx")
    assert str(decode.signature) == "(z: float32[batch, 2]) -> (x: float32[batch, 6])"
    assert decode.variant_path("simplified").name == "decode.simplified.onnx"
    assert "encode(x: float32" in repr(loaded)
    with pytest.raises(ArtifactError, match=r"no method 'sample'\. It has encode, decode"):
        loaded.method("sample")


@pytest.mark.slow
def test_the_artifact_answers_for_both(vae: models.VAE, made: ONNXArtifact) -> None:
    x = torch.randn(4, 6)
    mean = made.run(x)["mean"]
    decoded = made.method("decode").run(mean)
    stood_in: Any = made.as_module(vae)
    with torch.no_grad():
        np.testing.assert_allclose(decoded, vae.decode(vae.encode(x)["mean"]), atol=1e-5)
        assert torch.equal(stood_in.encode(x)["mean"], torch.from_numpy(mean))
        assert torch.equal(stood_in.decode(torch.from_numpy(mean)), torch.from_numpy(decoded))


@pytest.mark.slow
def test_numbers_for_loggers_and_trackers(made: ONNXArtifact) -> None:
    scalars = made.scalars()
    assert scalars["onnx/parity_passed"] == scalars["onnx/decode/parity_passed"] == 1
    sizes = [(made.directory / f"{method}.onnx").stat().st_size for method in BOTH]
    assert scalars["onnx/size_mib"] == sum(sizes) / 2**20
    table = summary(made)
    assert (table["parity"], table["weights"]) == ("passed", "live")
    assert table["decode/signature"] == str(made.method("decode").signature)
    assert table["encode/sha256"] != table["decode/sha256"]


@pytest.mark.slow
def test_the_model_card_has_code_for_each(made: ONNXArtifact) -> None:
    pytest.importorskip("huggingface_hub")
    card = model_card.render(made, Hub("user/vae"))
    assert "# encode\nimport numpy as np" in card
    assert "InferenceSession('decode.onnx')" in card
    assert "## decode: Checks" in card


@pytest.mark.slow
def test_one_report_has_a_section_for_each(made: ONNXArtifact) -> None:
    page = (made.directory / "report.html").read_text(encoding="utf-8")
    assert page.count('<section class="method">') == 2
    assert page.count("<h2>Checks</h2>") == 2
    assert page.count("<h2>Weights</h2>") == page.count("<h2>Versions</h2>") == 1
    assert "InferenceSession(&#39;decode.onnx&#39;)" in page
    text = made.report.text()
    assert "encode: Checks" in text
    assert "decode: Checks" in text
    assert set(re.findall(r"\w+(?=: Safe to deploy| and)", made.report.summary)) == set(BOTH)
    assert "- decode: decode.onnx:" in (made.directory / "report.md").read_text(encoding="utf-8")
    own = [made.directory / f"{method}.onnx" for method in BOTH]
    assert f"<dd>{size(sum(path.stat().st_size for path in own))}</dd>" in page


@pytest.mark.slow
def test_commands(made: ONNXArtifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(made.directory)

    def told(*command: str, code: int = 0) -> str:
        assert main.main(list(command)) == code
        return capsys.readouterr().out

    checked = [line.split(":")[0] for line in told("check", place).splitlines()]
    assert checked == ["encode", "encode simplified", "decode", "decode simplified"]
    assert set(json.loads(told("check", place, "--json"))["methods"]) == set(BOTH)
    assert "passed" in told("check", str(made.directory / "decode.onnx"))
    described = json.loads(told("inspect", place, "--json"))
    assert (described["file"], described["methods"]["decode"]["file"]) == ("encode.onnx", "decode.onnx")
    assert "decode: Operators" in told("inspect", place)
    found = json.loads(told("diff", place, place, "--json"))
    assert found["methods"]["decode"]["outputs"]["x"]["max_rel_diff"] == 0
    (tmp_path / "load.py").write_text(told("snippet", place, "--method", "decode"), encoding="utf-8")
    ran = subprocess.run([sys.executable, tmp_path / "load.py"], cwd=place, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("x float32")
    told("triton", place, str(tmp_path / "models"))
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["vae-decode", "vae-encode"]
    with pytest.raises(ConfigurationError, match="each of them a model of its own"):
        add_to_repository(made, tmp_path / "models")


@pytest.mark.slow
def test_a_method_whose_file_is_wrong_fails_the_artifact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied: Any = private_copy(models.VAE())
    calls = {"encode": torch.randn(3, 6), "decode": torch.randn(3, 2)}
    plans = [
        prepare(copied, [Observation.of(sample_of(copied, config.method, ((calls[config.method],), {})), "")], config)
        for config in configs_of(BOTH)
    ]
    right = produce(plans, LoadedModule(copied, Source()), tmp_path / "right")
    copied.decoder.weight.data.fill_(torch.nan)
    made = produce(plans, LoadedModule(copied, Source()), tmp_path / "made")
    assert right.proven
    assert made.method("encode").proven
    assert not made.method("decode").passed
    assert not made.passed
    assert not made.proven
    assert made.scalars()["onnx/parity_passed"] == 0
    assert made.report.summary.startswith("decode: Do not deploy")
    assert main.main(["inspect", str(made.directory)]) == 1
    assert main.main(["diff", str(right.directory), str(made.directory)]) == 1
    capsys.readouterr()


@pytest.mark.slow
def test_large_weights_that_both_use_are_stored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.encoder, self.decoder = nn.Linear(64, 64), nn.Linear(64, 32), nn.Linear(32, 64)

        def encode(self, x: Tensor) -> Tensor:
            return self.encoder(self.mix(x).relu())

        def decode(self, z: Tensor) -> Tensor:
            return self.mix(self.decoder(z).relu())

    monkeypatch.setattr(produce_module, "SHARED_ABOVE", 10_000)
    module = Wide().eval()
    x, z = torch.randn(3, 64), torch.randn(3, 32)
    made = lightning_onnx.export(
        module, method=BOTH, sample={"encode": x, "decode": z}, directory=tmp_path / "made",
        variants=["fp16", "int8"],
    )  # fmt: skip
    assert made.proven
    assert {v.status for own in made.record.by_method.values() for v in own.variants} == {"passed"}
    weights = 4 * (64 * 64 + 2 * 64 * 32)
    assert (made.directory / "weights.data").stat().st_size == weights  # all three of whole pages
    moved = made.directory.rename(tmp_path / "moved")
    loaded = ONNXArtifact.load(moved)
    with torch.no_grad():
        np.testing.assert_allclose(outside.run(moved / "encode.onnx", x=x)[0], module.encode(x), atol=1e-5)
        np.testing.assert_allclose(loaded.method("decode").run(z), module.decode(z), atol=1e-5)
    sizes = loaded.scalars()
    graphs = sum((moved / f"{method}.onnx").stat().st_size for method in BOTH)
    assert sizes["onnx/size_mib"] == (graphs + weights) / 2**20
    assert sizes["onnx/encode/size_mib"] < 0.75 * sizes["onnx/size_mib"]
    add_to_repository(loaded.method("decode"), tmp_path / "models", "decode")
    names = {path.name for path in (tmp_path / "models" / "decode" / "1").iterdir()}
    assert names == {"decode.onnx", "weights.data"}
    (moved / "weights.data").write_bytes(b"\0" * weights)
    with pytest.raises(ArtifactError, match=r"weights\.data is"):
        ONNXArtifact.load(moved)


class Towers(nn.Module):
    """Two towers that share an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.query, self.item = nn.Embedding(20, 8), nn.Linear(8, 4), nn.Linear(9, 4)

    def query_vector(self, ids: Tensor) -> Tensor:
        return nn.functional.normalize(self.query(self.words(ids).mean(1)), dim=-1)

    def item_vector(self, ids: Tensor, price: Tensor) -> Tensor:
        return nn.functional.normalize(self.item(torch.cat([self.words(ids).mean(1), price], -1)), dim=-1)


class Translator(nn.Module):
    """An encoder-decoder: the decoder takes the encoder's memory, and its state."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(16, 8)
        self.encoder, self.decoder = nn.GRU(8, 8, batch_first=True), nn.GRU(16, 8, batch_first=True)
        self.head = nn.Linear(8, 16)

    def encode(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        memory, state = self.encoder(self.words(ids))
        return memory, state

    def decode(self, last: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        scores = torch.einsum("lbh,bth->bt", state, memory).softmax(-1)
        context = torch.einsum("bt,bth->bh", scores, memory)[:, None]
        found, state = self.decoder(torch.cat([self.words(last), context], -1), state)
        return self.head(found), state


@pytest.mark.slow
def test_two_towers(tmp_path: Path) -> None:
    module = Towers().eval()
    ids, price = torch.randint(0, 20, (3, 5)), torch.rand(3, 1)
    made = lightning_onnx.export(
        module, method=["query_vector", "item_vector"], directory=tmp_path / "made",
        sample={"query_vector": ids, "item_vector": {"ids": ids, "price": price}},
    )  # fmt: skip
    assert made.proven
    query = outside.run(made.directory / "query_vector.onnx", ids=ids)[0]
    item = outside.run(made.directory / "item_vector.onnx", ids=ids, price=price)[0]
    with torch.no_grad():
        expected = module.query_vector(ids) @ module.item_vector(ids, price).T
    np.testing.assert_allclose(query @ item.T, expected, atol=1e-5)


@pytest.mark.slow
def test_an_encoder_and_a_decoder_that_takes_its_memory(tmp_path: Path) -> None:
    module = Translator().eval()
    ids = torch.randint(0, 16, (2, 5))
    with torch.no_grad():
        memory, state = module.encode(ids)
    made = lightning_onnx.export(
        module, method=BOTH, directory=tmp_path / "made",
        sample={"encode": ids, "decode": (ids[:, :1], state, memory)},
        output_names={"encode": ["memory", "state"], "decode": ["logits", "next_state"]},
        dynamic_axes={
            "encode": {"ids": {0: "batch", 1: "time"}},
            "decode": {"last": {0: "batch"}, "state": {1: "batch"}, "memory": {0: "batch", 1: "time"}},
        },
    )  # fmt: skip
    assert made.proven
    sentence = torch.randint(0, 16, (3, 9))
    with torch.no_grad():
        expected_memory, expected = module.encode(sentence)
        last = sentence[:, :1]
        found = outside.run(made.directory / "encode.onnx", ids=sentence)
        for _ in range(4):  # greedy decoding, with the files and with the module
            logits, found[1] = outside.run(made.directory / "decode.onnx", last=last, state=found[1], memory=found[0])
            wanted, expected = module.decode(last, expected, expected_memory)
            np.testing.assert_allclose(logits, wanted, atol=1e-5)
            last = wanted.argmax(-1)

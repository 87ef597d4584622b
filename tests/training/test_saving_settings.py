"""Settings that save memory or time: what they change, and that resume stays exact."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState

from backbones.families import controlnet
from difftuning.compiling import CompiledBlocks, compile_blocks
from difftuning.errors import ConfigError
from difftuning.training import optim
from difftuning.training.hooks import Hook
from difftuning.training.optim import OptimConfig
from networks import NETS, Net
from tiny import tiny_dit
from training.test_trainer import make, same

EIGHT_BIT = OptimConfig(lr=1e-2, eight_bit=True)
# Not among what is installed for development: peft imports it wherever it is there, which takes seconds.
with_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")


@with_bitsandbytes
def test_moments_in_eight_bits_resume_bit_for_bit(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole", optim=EIGHT_BIT)
    whole.run()
    make(tmp_path / "parts", optim=EIGHT_BIT).run(until=5)
    rest = make(tmp_path / "parts", optim=EIGHT_BIT)
    rest.run()
    assert same(whole.tensors(), rest.tensors())


@with_bitsandbytes
def test_moments_in_eight_bits_take_a_quarter_and_train_as_well(tmp_path: Path) -> None:
    plain, small = make(tmp_path / "plain", optim=OptimConfig(lr=1e-2)), make(tmp_path / "small", optim=EIGHT_BIT)
    plain.run()
    small.run()
    # Those of fewer numbers than 4,096 stay in 32 bits, as bitsandbytes has it.
    large = [name for name, value in plain.parameters.items() if value.numel() >= 4096]
    assert large
    for name in large:
        moments = {key: value for key, value in small.tensors()["optimizer"].items() if key.startswith(f"{name}/state")}
        assert {value.dtype for value in moments.values()} == {torch.uint8}
        assert sum(value.nbytes for value in moments.values()) == 2 * plain.parameters[name].numel()
    apart = torch.cat([(small.parameters[n] - plain.parameters[n]).flatten() for n in plain.parameters])
    start = make(tmp_path / "start")
    moved = torch.cat([(plain.parameters[n] - start.parameters[n]).flatten() for n in plain.parameters])
    assert float(apart.detach().norm()) < 0.2 * float(moved.detach().norm())


def test_without_bitsandbytes_there_is_a_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install difftuning\[8bit\]"):
        make(tmp_path, optim=EIGHT_BIT)


@pytest.mark.parametrize("asked", [True, False, None])
def test_tf32_is_switched_as_asked_within_a_step_and_its_measurements_and_back(
    asked: bool | None, tmp_path: Path
) -> None:
    def switches() -> tuple[bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before, seen = switches(), []
    trainer = make(tmp_path, tf32=asked)
    plain = trainer.passes.asked
    trainer.passes.asked = lambda batch: (seen.append(switches()), plain(batch))[1]  # type: ignore[attr-defined]
    trainer.hooks = [Hook(1, lambda step: seen.append(switches()) or {})]  # type: ignore[func-returns-value]
    trainer.run(until=1)
    assert seen == [before if asked is None else (asked, asked)] * 2, "a step, and what is measured after it"
    assert switches() == before


def test_a_step_that_a_scaler_leaves_out_is_seen() -> None:
    """A real scaler, on the CPU: under a fused AdamW it would be asked for the step, and nobody would know."""
    AcceleratorState._reset_state(reset_partial_state=True)
    Accelerator(cpu=True)
    parameter = torch.nn.Parameter(torch.ones(4))
    plain = optim.make_optimizer([parameter], optim.OptimConfig(lr=0.1), scaled=True)
    scaler = torch.amp.GradScaler("cpu")
    optimizer = AcceleratedOptimizer(plain, scaler=scaler)
    for factor, skipped in ((1.0, False), (float("inf"), True), (1.0, False)):
        before = parameter.detach().clone()
        scaler.scale((factor * parameter).sum()).backward()
        scaler.unscale_(plain)
        torch.nn.utils.clip_grad_norm_([parameter], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        assert optimizer.step_was_skipped == skipped
        assert torch.equal(parameter, before) == skipped
    assert optim.make_optimizer([parameter], optim.OptimConfig()).defaults["fused"]


def compiled(network: torch.nn.Module) -> set[str]:
    """The names of what is compiled."""
    return {name for name, module in network.named_modules() if module._compiled_call_impl is not None}


def test_blocks_are_compiled_and_nothing_else() -> None:
    network = tiny_dit().network
    names = list(network.state_dict())
    blocks = {f"transformer_blocks.{number}" for number in range(len(network.transformer_blocks))}
    with CompiledBlocks(network).inside():
        assert compiled(network) == blocks
    assert not compiled(network)
    compile_blocks(network)
    assert compiled(network) == blocks
    assert list(network.state_dict()) == names


@pytest.mark.parametrize("net", NETS.values(), ids=NETS.keys())
def test_there_is_something_to_compile_in_every_network(net: Net) -> None:
    network = net.make()
    compile_blocks(network)
    assert compiled(network)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo looks at it
def test_blocks_of_many_widths_are_all_compiled_and_answer_the_same() -> None:
    net = NETS["edm"]
    plain, network = net.make(), net.make()
    compile_blocks(network)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        torch.testing.assert_close(net.ask(network), net.ask(plain), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("unlocked", [False, True])
def test_a_controlnet_and_its_unet_are_compiled(tmp_path: Path, unlocked: bool) -> None:
    model = controlnet("sd", tmp_path, unlocked)
    compile_blocks(model.network)
    assert compiled(model.network["controlnet"])
    assert compiled(model.unet)


def test_what_has_no_blocks_is_not_compiled_in_silence() -> None:
    with pytest.raises(
        ConfigError, match=r"nothing of a Linear can be compiled; set training\.compile and bank\.compile"
    ):
        compile_blocks(torch.nn.Linear(1, 1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo looks at it
def test_compiled_steps_are_those_of_the_plain_network_and_resume_bit_for_bit(tmp_path: Path) -> None:
    plain, whole = make(tmp_path / "plain"), make(tmp_path / "whole", compile=True)
    first = whole.streams.batch(0, (0, 0))
    assert torch.allclose(plain.backward(first).error, whole.backward(first).error, rtol=1e-4)
    for trainer in (plain, whole):
        trainer.optimizer.zero_grad()
    whole.run()
    make(tmp_path / "parts", compile=True).run(until=5)
    rest = make(tmp_path / "parts", compile=True)
    rest.run()
    assert same(whole.tensors(), rest.tensors())

"""What every tuner promises, on every kind of network."""

from __future__ import annotations

import copy

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from difftuning.errors import CheckpointError, ConfigError, ModelError
from difftuning.training.ema import EMA, EMAConfig
from difftuning.tuning import KINDS, Tuner, build
from difftuning.tuning.lora import PEFT
from networks import NETS, Net

SETTINGS: dict[str, dict[str, object]] = {
    "full": {},
    "lora": {"rank": 2},
    "lora, dora": {"rank": 2, "dora": True},
    "bitfit": {},
    "delta": {"parameters": ["*.bias", "*ff.net*.weight"]},
    "difffit": {},
    "adaptformer": {"bottleneck": 4},
    "vpt-deep": {"tokens": 30},
    **{
        f"peft, {method}": {"method": method, "options": options}
        for method, options in {
            "fourierft": {"n_frequency": 8},
            "ia3": {},
            "loha": {"r": 2},
            "lokr": {"r": 2},
            "miss": {"r": 2},
            "oft": {"oft_block_size": 4, "r": 0},
            "vera": {"r": 2},
        }.items()
    },
}
ACTS_AT_ONCE = {"vpt-deep"}
TUNER = pytest.mark.parametrize("name", SETTINGS)
NET = pytest.mark.parametrize("net", NETS.values(), ids=NETS.keys())


@pytest.fixture(autouse=True)
def _has_a_place(request: pytest.FixtureRequest) -> None:
    """Of a network and a tuner that has none in it, only the refusal is a promise."""
    given = getattr(request.node, "callspec", None)
    if given is None or {"name", "net"} - given.params.keys() or "refused" in request.node.name:
        return
    if given.params["name"].partition(",")[0] in given.params["net"].without:
        pytest.skip("refused")


@pytest.mark.parametrize("net", [net for net in NETS.values() if net.without])
@TUNER
def test_what_has_no_place_in_a_network_is_refused_and_all_else_attached(name: str, net: Net) -> None:
    if name.partition(",")[0] in net.without:
        with pytest.raises((ModelError, ConfigError)):
            made(name).attach(net.make(), net.table, seed=0)
    else:
        assert made(name).attach(net.make(), net.table, seed=0)


def made(name: str) -> Tuner:
    """A tuner by its name above."""
    kind = name.partition(",")[0]
    return build(KINDS[kind][0].model_validate({"kind": kind, **SETTINGS[name]}))


def move(tuner: Tuner) -> None:
    """Every trained parameter to somewhere else, a little."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in tuner.parameters.values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def ask(net: Net, network: nn.Module) -> Tensor:
    with torch.no_grad():
        return net.ask(network)


def test_every_kind_has_a_setting_here() -> None:
    assert {name.partition(",")[0] for name in SETTINGS} == KINDS.keys()
    assert {name.partition(", ")[2] for name in SETTINGS if name.startswith("peft")} == {*PEFT}


@NET
@TUNER
def test_a_fresh_one_changes_nothing(name: str, net: Net) -> None:
    network, tuner = net.make(), made(name)
    before = ask(net, network)
    tuner.attach(network, net.table, seed=0)
    same = torch.equal(ask(net, network), before)
    if name not in ACTS_AT_ONCE and not same:
        torch.testing.assert_close(ask(net, network), before, atol=2e-6, rtol=0)
    assert name not in ACTS_AT_ONCE or not same


@NET
@TUNER
def test_off_is_the_base_model_bit_for_bit_and_on_comes_back(name: str, net: Net) -> None:
    network, tuner = net.make(), made(name)
    before = ask(net, network)
    tuner.attach(network, net.table, seed=0)
    move(tuner)
    tuned = ask(net, network)
    assert not torch.allclose(tuned, before, atol=1e-4)
    if not tuner.reversible:
        with pytest.raises(NotImplementedError, match="beside"), tuner.off():
            pass
        return
    with tuner.off():
        assert torch.equal(ask(net, network), before)
    assert torch.equal(ask(net, network), tuned)
    copied = copy.deepcopy(network)
    with tuner.off():
        assert torch.equal(ask(net, copied), tuned)


@NET
@TUNER
def test_what_it_adds_lies_where_the_network_does(name: str, net: Net) -> None:
    """The meta device stands for a GPU here."""
    network, tuner = net.make().to("meta"), made(name)
    parameters = tuner.attach(network, net.table, seed=0)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    known = dict(network.named_parameters())
    assert all(known[at] is parameter for at, parameter in parameters.items())


@TUNER
def test_off_under_autocast_is_the_base_model_too(name: str) -> None:
    """Autocast keeps what it has cast, so that the weights of before could answer in the place of the base model's."""
    if not made(name).reversible:
        return
    net = NETS["dit"]
    network, tuner = net.make(), made(name)
    with torch.autocast("cpu", torch.bfloat16):
        before = ask(net, network)
    tuner.attach(network, net.table, seed=0)
    move(tuner)
    with torch.autocast("cpu", torch.bfloat16):
        tuned = net.ask(network).detach()
        with tuner.off():
            assert torch.equal(ask(net, network), before)
        assert torch.equal(net.ask(network).detach(), tuned)
    assert not torch.equal(tuned, before)


@TUNER
def test_a_teacher_between_forward_and_backward_changes_no_gradient(name: str) -> None:
    net, found = NETS["dit"], []
    if not made(name).reversible:
        return
    for asked in (False, True):
        network, tuner = net.make(), made(name)
        parameters = tuner.attach(network, net.table, seed=0)
        move(tuner)
        loss = net.ask(network).square().mean()
        if asked:
            with tuner.off():
                ask(net, network)
        loss.backward()
        found.append({key: value.grad for key, value in parameters.items() if value.grad is not None})
        assert all(value.requires_grad for value in parameters.values())
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


@NET
@TUNER
def test_what_was_learned_is_loaded_exactly(name: str, net: Net) -> None:
    networks, tuners = [net.make(), net.make()], [made(name), made(name)]
    for seed, (network, tuner) in enumerate(zip(networks, tuners, strict=True)):
        tuner.attach(network, net.table, seed=seed)
    move(tuners[0])
    tuners[1].load(tuners[0].state())
    assert torch.equal(ask(net, networks[0]), ask(net, networks[1]))
    state = tuners[0].state()
    first = next(iter(state))
    with pytest.raises(CheckpointError, match="1 tensors are not those of this tuner"):
        tuners[1].load({key: value for key, value in state.items() if key != first})


@NET
@TUNER
def test_merged_it_answers_the_same_as_a_plain_network(name: str, net: Net) -> None:
    network, tuner = net.make(), made(name)
    tuner.attach(network, net.table, seed=0)
    move(tuner)
    tuned = ask(net, network)
    if not tuner.mergeable:
        with pytest.raises(ModelError, match="beside the model"):
            tuner.merge()
        assert torch.equal(ask(net, network), tuned)
        return
    tuner.merge()
    torch.testing.assert_close(ask(net, network), tuned, atol=1e-5, rtol=1e-5)
    plain = net.make()
    plain.load_state_dict(network.state_dict())
    assert torch.equal(ask(net, plain), ask(net, network))


@NET
@TUNER
def test_exactly_the_intended_parameters_move(name: str, net: Net) -> None:
    network, tuner = net.make(), made(name)
    base = {key: value.detach().clone() for key, value in network.named_parameters()}
    parameters = tuner.attach(network, net.table, seed=0)
    move(tuner)
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
    before = {key: value.detach().clone() for key, value in network.named_parameters()}
    net.ask(network).square().mean().backward()
    optimizer.step()
    after = dict(network.named_parameters())
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert moved <= parameters.keys()
    # A few have no gradient: positions in a table that the input does not have, the text's last layers in SD3.
    assert len(moved) > 0.6 * len(parameters)
    assert {key for key, value in after.items() if value.requires_grad} == parameters.keys()
    assert {*net.table} <= parameters.keys()
    if name not in ("full", "bitfit", "delta", "difffit"):
        assert parameters.keys() & base.keys() == {*net.table}


@NET
@TUNER
def test_gradients_are_the_same_with_checkpointing(name: str, net: Net) -> None:
    found = []
    for checkpointing in (False, True):
        network, tuner = net.make(), made(name)
        parameters = tuner.attach(network, net.table, seed=0)
        move(tuner)
        if checkpointing:
            network.enable_gradient_checkpointing()  # type: ignore[operator]
            network.train()
        net.ask(network).square().mean().backward()
        found.append({key: value.grad for key, value in parameters.items() if value.grad is not None})
    assert found[0].keys() == found[1].keys()
    for key, gradient in found[0].items():
        torch.testing.assert_close(found[1][key], gradient, atol=1e-6, rtol=1e-4)


@TUNER
def test_a_seed_decides_what_is_random_and_the_global_generator_stays(name: str) -> None:
    net = NETS["dit"]
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(5)
        tuner = made(name)
        tuner.attach(net.make(), net.table, seed=seed)
        states.append(tuner.state())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    if name.partition(",")[0] in ("lora", "adaptformer", "vpt-deep"):
        assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


@NET
@TUNER
def test_the_average_takes_the_place_of_what_moves_and_gives_it_back(name: str, net: Net) -> None:
    networks, tuners = [net.make(), net.make()], [made(name), made(name)]
    for network, tuner in zip(networks, tuners, strict=True):
        tuner.attach(network, net.table, seed=0)
    average = EMA(tuners[0].parameters, EMAConfig(decay=0.5))
    move(tuners[0])
    tuned = ask(net, networks[0])
    average.update(1, 1)
    tuners[1].load(average.average)
    with average.swapped():
        averaged = ask(net, networks[0])
        assert torch.equal(averaged, ask(net, networks[1]))
    assert not torch.equal(averaged, tuned)
    assert torch.equal(ask(net, networks[0]), tuned)


@TUNER
def test_a_step_under_accelerate_is_the_plain_step(name: str) -> None:
    net, states = NETS["dit"], []
    for accelerated in (False, True):
        network, tuner = net.make(), made(name)
        tuner.attach(network, net.table, seed=0)
        move(tuner)
        optimizer = torch.optim.AdamW(tuner.parameters.values(), lr=1e-2)
        accelerator = Accelerator(cpu=True)
        model, stepped = accelerator.prepare(network, optimizer) if accelerated else (network, optimizer)
        loss = net.ask(model).square().mean()
        (accelerator.backward if accelerated else torch.Tensor.backward)(loss)
        stepped.step()
        states.append({key: value.clone() for key, value in tuner.state().items()})
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    unmoved = made(name)
    unmoved.attach(net.make(), net.table, seed=0)
    assert any(not torch.equal(value, states[0][key]) for key, value in unmoved.state().items())

"""Retention by a teacher: nothing where the student still is the teacher, and xi and the weight where it is not."""

from __future__ import annotations

import torch

from difftuning.coefficients.families import Constant, Power, PowerOfComplement
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.objectives.distillation import Distillation
from difftuning.types import Batch, Condition, Draw
from tiny import tiny_dit

STUDENT, TEACHER = tiny_dit(seed=1, learned_variance=True), tiny_dit(seed=2, learned_variance=True)
T = torch.tensor([10.0, 400.0, 900.0])
U = STUDENT.clock.u(T)
DRAW = Draw(T, U, torch.zeros(3, dtype=torch.bool), Power(1.0)(U))
BATCH = Batch(torch.randn(3, 3, 8, 8), torch.randn(3, 3, 8, 8), Condition(torch.tensor([0, 1, 4])), DRAW)


def plain() -> DiffTuning:
    return DiffTuning(STUDENT, STUDENT.process, STUDENT.prediction, learned_variance=True)


def test_the_models_own_errors_are_untouched_and_the_teacher_stands_beside() -> None:
    own, taught = plain()(BATCH), Distillation(plain(), TEACHER, 4, PowerOfComplement(2.0), 0.05)(BATCH)
    assert torch.equal(own.error, taught.error)
    assert taught.beside is not None
    x_t = STUDENT.process.add_noise(BATCH.x0, BATCH.noise, T)
    student = STUDENT(x_t, T, BATCH.condition)
    teacher = TEACHER(x_t, T, Condition(torch.full((3,), 4)))
    expected = 0.05 * (1 - U).square() * (student - teacher).square().flatten(1).mean(1)
    torch.testing.assert_close(taught.beside, expected)
    torch.testing.assert_close(taught.loss(), own.loss() + expected.mean())


def test_a_weight_over_time_is_of_the_teachers_term_too() -> None:
    alone = Distillation(plain(), TEACHER, 4, Power(1.0), 0.05)(BATCH).beside
    weighed = Distillation(plain(), TEACHER, 4, Power(1.0), 0.05, by_time=lambda t: t / 100)(BATCH).beside
    assert alone is not None
    assert weighed is not None
    torch.testing.assert_close(weighed, alone * torch.tensor([0.1, 4.0, 9.0]))


def test_a_student_that_is_its_teacher_is_left_alone_where_nothing_is_asked() -> None:
    nothing = Batch(BATCH.x0, BATCH.noise, Condition(torch.full((3,), 4)), DRAW)
    found = Distillation(plain(), STUDENT, 4, Constant(1.0), 0.05)(nothing)
    assert found.beside is not None
    assert float(found.beside.detach().abs().max()) == 0


def test_no_gradient_reaches_the_teacher() -> None:
    TEACHER.network.zero_grad()
    Distillation(plain(), TEACHER, 4, Constant(1.0), 0.05)(BATCH).loss().backward()
    assert all(parameter.grad is None for parameter in TEACHER.network.parameters())
    assert any(parameter.grad is not None for parameter in STUDENT.network.parameters())

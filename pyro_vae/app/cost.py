"""What a training costs: its steps, told before it and with their time after it."""

from pyro_vae.inference import Fit

__all__ = ["cost", "plan"]


def plan(steps: int, steps_in_epoch: int, batch_size: int) -> str:
    """How many steps a training takes."""
    epochs = steps / steps_in_epoch
    return (
        f"{steps:,} {_steps(steps)} of {batch_size} data: {epochs:.4g} "
        f"{'epoch' if epochs == 1 else 'epochs'} of {steps_in_epoch:,} {_steps(steps_in_epoch)}"
    )


def cost(training: Fit) -> str:
    """How many steps a training took, and what each cost, its share of all else included."""
    steps, seconds = training.svi.steps, training.progress.seconds
    return (
        f"{steps:,} {_steps(steps)} ({training.svi.mode}) in {seconds:.3g} s: "
        f"{1000 * seconds / max(steps, 1):.3g} ms a step, with validation and saving"
    )


def _steps(number: int) -> str:
    return "step" if number == 1 else "steps"

"""The fields of an estimator that are modules: trained with the program, saved and resumed."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import pyro
from torch import Tensor, nn

from pyro_vae.frozen import is_frozen

__all__ = ["WithModules"]

_OWNER = "estimator"  # the first part of the parameters' names


class WithModules:
    """What a dataclass does with those of its fields that are modules.

    Their parameters are param sites of Pyro's at each run, so that our SVI and Pyro's train them.
    """

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The fields that are modules, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if isinstance(value, nn.Module)}

    def named_parameters(self) -> dict[str, Tensor]:
        """The trainable parameters of the modules, by names such as "estimator.critic.weight"."""
        return {
            f"{_OWNER}.{name}.{inner}": parameter
            for name, module in self.modules.items()
            for inner, parameter in module.named_parameters()
            if parameter.requires_grad
        }

    @property
    def state(self) -> Sequence[Tensor]:
        """The tensors that a step itself changes, such as a moving average: the modules' buffers.

        Parameters of the modules are no part of it, since it is the optimizer that changes them.
        """
        return [buffer for module in self.modules.values() for buffer in module.buffers()]

    def state_dict(self, *, keep_vars: bool = False) -> dict[str, Tensor]:
        """The parameters and buffers of the modules, by names such as "baseline.value".

        Those of frozen modules, which stay as they are and may be large, are left out.

        As with modules of torch these are the tensors in use, without their gradient unless
        `keep_vars` says so; copy them to keep their values.
        """
        state: dict[str, Tensor] = {}
        for name, module in self._learning().items():
            module.state_dict(destination=state, prefix=f"{name}.", keep_vars=keep_vars)
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Puts a `state_dict` of an estimator with the same modules into this one's modules."""
        here = self.state_dict()
        if state.keys() != here.keys():
            raise ValueError(
                f"the saved state of the estimator holds {sorted(state)}, but "
                f"{type(self).__name__} holds {sorted(here)}; load it into the estimator that "
                "it was saved of"
            )
        for name, module in self._learning().items():
            prefix = f"{name}."
            module.load_state_dict(
                {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            )

    def _learning(self) -> dict[str, nn.Module]:
        return {name: part for name, part in self.modules.items() if not is_frozen(part)}

    def offer_modules(self, args: Any, kwargs: Any) -> None:
        """Puts the modules where the data are, and tells Pyro of their parameters.

        Args:
            args: Positional arguments of model and guide, whose tensors are data.
            kwargs: Keyword arguments of both.
        """
        if not self.modules:
            return
        devices = [v.device for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
        for module in self.modules.values():
            tensors = (*module.parameters(), *module.buffers())
            if devices and any(tensor.device != devices[0] for tensor in tensors):
                module.to(devices[0])
        for name, parameter in self.named_parameters().items():
            inner = name.removeprefix(f"{_OWNER}.")
            pyro.param(f"{_OWNER}$$${inner}", parameter)  # as Pyro names those of its modules

"""AlexNet as a torch module, built from its spec, with every layer within reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from decaf.backbone.lrn import local_response_norm
from decaf.backbone.spec import ArchSpec, map_sizes, parameter_shapes
from decaf.backbone.steps import Step, forward_steps, resolve_layers
from decaf.errors import SettingError
from decaf.runtime.wording import counted

__all__ = ["TORCHVISION_MODULES", "AlexNet", "Step", "decaf_parameter_name", "evaluating"]

TORCHVISION_MODULES: Mapping[str, str] = {
    "features.0": "conv1",
    "features.3": "conv2",
    "features.6": "conv3",
    "features.8": "conv4",
    "features.10": "conv5",
    "classifier.1": "fc6",
    "classifier.4": "fc7",
    "classifier.6": "fc8",
}
"""Module names of `torchvision.models.AlexNet`, and decaf's for the same modules."""


def decaf_parameter_name(name: str) -> str:
    """Return decaf's name of a parameter that torchvision's AlexNet calls `name`.

    Other names are given back as they are.

    Parameters
    ----------
    name : str

    Examples
    --------
    >>> decaf_parameter_name("classifier.1.weight")
    'fc6.weight'
    """
    module, _, parameter = name.rpartition(".")
    return f"{TORCHVISION_MODULES[module]}.{parameter}" if module in TORCHVISION_MODULES else name


class AlexNet(nn.Module):
    """A network of the family.

    A new network holds no numbers: its parameters are on the ``meta`` device until a state dict
    is loaded, which may have decaf's names (``conv1.weight``) or, for a network that has the
    layers of torchvision's, torchvision's (``features.0.weight``).
    `decaf.backbone.weights.random_weights.random_state` makes a state dict to start training from.

    Parameters
    ----------
    spec : ArchSpec
        Description of the network.

    Attributes
    ----------
    spec : ArchSpec
    conv1, conv2, conv3, conv4, conv5 : torch.nn.Conv2d
    fc6, fc7, fc8 : torch.nn.Linear

    Examples
    --------
    >>> from decaf.backbone.weights.random_weights import random_state
    >>> from decaf.backbone.spec import architecture
    >>> network = AlexNet(architecture("alexnet-64"))
    >>> _ = network.load_state_dict(random_state(network.spec, seed=0))
    >>> network(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 200])
    """

    spec: ArchSpec
    conv1: nn.Conv2d
    conv2: nn.Conv2d
    conv3: nn.Conv2d
    conv4: nn.Conv2d
    conv5: nn.Conv2d
    fc6: nn.Linear
    fc7: nn.Linear
    fc8: nn.Linear

    def __init__(self, spec: ArchSpec) -> None:
        super().__init__()
        self.spec = spec
        inputs = 3
        # On the meta device neither memory nor torch's default initialisation is spent on numbers
        # that a state dict replaces at once: for 61 million of them that is more than a second.
        with torch.device("meta"):
            for number, conv in enumerate(spec.convs, start=1):
                module = nn.Conv2d(
                    inputs,
                    conv.channels,
                    conv.kernel,
                    conv.stride,
                    conv.padding,
                    groups=conv.groups,
                )
                self.add_module(f"conv{number}", module)
                inputs = conv.channels
            inputs *= (spec.adaptive_pool or map_sizes(spec)["pool5"]) ** 2
            for number, width in enumerate((*spec.hidden, spec.classes), start=6):
                self.add_module(f"fc{number}", nn.Linear(inputs, width))
                inputs = width
        self._steps = forward_steps(spec)
        self.register_load_state_dict_pre_hook(_rename_torchvision)  # type: ignore[no-untyped-call]

    def steps(self) -> tuple[Step, ...]:
        """Return the elementary steps of the forward pass, in order."""
        return self._steps

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Copy parameters in, as `torch.nn.Module.load_state_dict` does.

        Parameters
        ----------
        state_dict : mapping of str to Tensor
            With decaf's or torchvision's names.
        strict : bool
            Whether missing or unexpected names are an error.
        assign : bool
            Take the tensors themselves as parameters instead of copying out of them.

        Raises
        ------
        RuntimeError
            As torch does, where names or shapes do not fit.
        """
        empty = self.conv1.weight.is_meta and not assign
        if empty:
            self.to_empty(device="cpu")
        try:
            return super().load_state_dict(state_dict, strict=strict, assign=assign)
        except Exception:
            if empty:  # what was not copied is whatever lay in memory: never leave that behind
                self.to("meta")
            raise

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits.

        Parameters
        ----------
        x : Tensor of float, shape (N, 3, H, W)
            Preprocessed images.

        Returns
        -------
        Tensor of float, shape (N, classes)
            The value of ``fc8``.
        """
        return self._walk(x, ("fc8",))["fc8"]

    def tap(self, x: Tensor, layers: str | Sequence[str]) -> dict[str, Tensor]:
        """Compute the values of several layers in one pass, which ends at the deepest of them.

        The module's mode counts: in training, dropout acts on what lies behind it (``fc6`` of a
        network with dropout at the output is the value before dropout). Where no gradient is
        recorded the values are detached; they never share memory with one another or with `x`.

        Parameters
        ----------
        x : Tensor of float, shape (N, 3, H, W)
            Preprocessed images.
        layers : str or sequence of str
            Names of `decaf.backbone.steps.LAYERS`.

        Returns
        -------
        dict of str to Tensor
            In the order asked for; shapes are (N, …) with `decaf.backbone.steps.layer_shape`.

        Raises
        ------
        SettingError
            If a name is no layer, or `x` does not fit the network.
        """
        asked = (layers,) if isinstance(layers, str) else tuple(layers)
        values = self._walk(x, resolve_layers(self.spec, asked))
        return {layer: values[layer] for layer in asked}

    def _walk(self, x: Tensor, wanted: tuple[str, ...]) -> dict[str, Tensor]:
        self._check_input(x)
        values: dict[str, Tensor] = {}
        waiting = set(wanted)
        kept = True  # whether somebody else holds x, so that it must not be written to
        for step in self._steps:
            x = self.run_step(step, x, overwrite=not kept and not torch.is_grad_enabled())
            # A dropout or flatten step may hand on its input: that stays as kept as it was.
            kept = kept if step.kind in ("dropout", "flatten") else False
            for tap in step.taps:
                if tap in waiting:
                    values[tap] = x
                    waiting.discard(tap)
                    kept = True
            if not waiting:
                break
        return values

    def _check_input(self, x: Tensor) -> None:
        weight = self.conv1.weight
        if weight.is_meta and not x.is_meta:
            raise SettingError("the network has no parameters yet: load a state dict first")
        if x.dim() != 4 or x.shape[1] != 3 or not x.is_floating_point():
            raise SettingError(
                f"needs preprocessed images, a float tensor (N, 3, H, W); got {x.dtype} of shape "
                f"{tuple(x.shape)}"
            )

    def run_step(self, step: Step, x: Tensor, *, overwrite: bool = False) -> Tensor:
        """Compute one step of the pass.

        Parameters
        ----------
        step : Step
            One of `steps`.
        x : Tensor
            Value of the step before it.
        overwrite : bool
            Nobody needs `x` any more, so that its memory may be used.

        Returns
        -------
        Tensor
            The step's value.
        """
        spec = self.spec
        match step.kind:
            case "conv" | "linear":
                if step.name == "fc6" and x.shape[1] != self.fc6.in_features:
                    raise SettingError(
                        f"{spec.name}: fc6 needs inputs of {spec.input_size} pixels: got "
                        f"{counted(x.shape[1], 'number')} an image instead of "
                        f"{self.fc6.in_features}"
                    )
                module: nn.Module = self.get_submodule(step.name)
                value: Tensor = module(x)
                return value
            case "act" if spec.activation == "relu":
                return functional.relu(x, inplace=overwrite)
            case "act":
                return x.tanh_() if overwrite else x.tanh()
            case "lrn":
                assert spec.lrn is not None
                lrn = spec.lrn
                # Only a channels-last value is overwritten: the result is channels-last then as
                # otherwise, so that what follows does not depend on which layers are asked for.
                into = overwrite and x.is_contiguous(memory_format=torch.channels_last)
                out = x if into else None
                return local_response_norm(x, lrn.size, lrn.k, lrn.alpha, lrn.beta, out=out)
            case "pool":
                return functional.max_pool2d(x, spec.pool.kernel, spec.pool.stride)
            case "adaptive_pool":
                return functional.adaptive_avg_pool2d(x, spec.adaptive_pool)
            case "flatten":
                return x.flatten(1)
            case "dropout":
                return functional.dropout(x, spec.dropout, self.training)
            case "softmax":
                # In bfloat16 each probability would be rounded to 8 bits, and their sum not be 1.
                return x.softmax(dim=1, dtype=torch.promote_types(x.dtype, torch.float32))


def _rename_torchvision(
    module: AlexNet, state_dict: dict[str, Any], prefix: str, *_: object
) -> None:
    """Rename torchvision's parameters to decaf's names before torch compares the names."""
    own = {f"{prefix}{name}" for name in parameter_shapes(module.spec)}
    for name in [name for name in state_dict if name.startswith(prefix)]:
        renamed = prefix + decaf_parameter_name(name.removeprefix(prefix))
        if renamed != name and renamed in own and renamed not in state_dict:
            state_dict[renamed] = state_dict.pop(name)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[nn.Module]:
    """Put a module into evaluation mode with no gradient recorded, for the length of the body.

    The mode of each submodule and the grad mode are put back also where the body raises; a
    module whose parts are in different modes (frozen normalisation in a network in training) gets
    each of them back.

    Parameters
    ----------
    module : torch.nn.Module

    Yields
    ------
    torch.nn.Module
        `module` itself.
    """
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        with torch.no_grad():
            yield module
    finally:
        for part, training in modes:
            part.training = training

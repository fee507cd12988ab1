"""Networks: every one under any leading shape, and what each must and must not depend on."""

import copy
import itertools
import math
from functools import partial

import pyro
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae import check, networks
from pyro_vae.datasets import digits
from pyro_vae.inference import SVI
from pyro_vae.models import VAE
from pyro_vae.networks.network import Network
from pyro_vae.shapes import input_shapes


def awake(net):
    """A network that starts as 0, with other weights in its last layer."""
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter)
    return net


CASES = {
    "Added": lambda: networks.Added(((2, 3), (4,)), (2, 5), hidden=(5, 6)),
    "BackwardGRU": lambda: networks.BackwardGRU((3, 2), (3, 5)),
    "Combiner": lambda: networks.Combiner(((2, 3), (4,)), (2, 5)),
    "ConvDecoder": lambda: networks.ConvDecoder((5,), (2, 1, 9, 6), channels=(4, 8)),
    "ConvEncoder": lambda: networks.ConvEncoder((1, 9, 6), (2, 5), channels=(4, 8)),
    "DecoderCell": lambda: networks.DecoderCell((4, 3, 2), (6, 6, 4)),
    "Discriminator": lambda: networks.Discriminator(
        (1, 9, 6), channels=(4, 8), spectral_norm=False
    ),
    "EncoderCell": lambda: networks.EncoderCell((4, 6, 4), (6, 3, 2)),
    "GatedMLP": lambda: networks.GatedMLP((2, 3), (4,), hidden=(5, 6)),
    "GatedResidual": lambda: networks.GatedResidual((1, 9, 6), (2, 3, 5, 3), channels=4),
    "GatedTransition": lambda: networks.GatedTransition((2, 3), (2, 2, 3)),
    "Joined": lambda: networks.Joined(((2, 4, 3), (4,)), (2, 5)),
    "JoinedGatedMLP": lambda: networks.JoinedGatedMLP(((2, 3), (4,)), (2, 5), hidden=(5, 6)),
    "KLDecoder": lambda: networks.KLDecoder((3, 4, 2), (2, 1, 8, 4), channels=(4, 8)),
    "KLEncoder": lambda: networks.KLEncoder((1, 8, 4), (2, 3, 4, 2), channels=(4, 8)),
    "MLP": lambda: networks.MLP((2, 3), (4,), hidden=(5, 6)),
    "MaskedMLP": lambda: networks.MaskedMLP((6,), (2, 6), hidden=(12, 12)),
    "PerceptualDistance": lambda: networks.PerceptualDistance(
        networks.ResidualEncoder((1, 9, 6), (5,), channels=(4, 8)), layers=("layers",)
    ),
    "PatchDiscriminator": lambda: networks.PatchDiscriminator(
        (1, 9, 8), channels=4, layers=1, spectral_norm=False
    ),
    "PixelCNN": lambda: networks.PixelCNN(
        (2, 5, 4), (3, 2, 5, 4), channels=4, layers=4, kernel_size=3
    ),
    "ResidualDecoder": lambda: networks.ResidualDecoder((5,), (2, 1, 9, 6), channels=(4, 8)),
    "ResidualEncoder": lambda: networks.ResidualEncoder((1, 9, 6), (2, 5), channels=(4, 8)),
    "SelfMasking": lambda: networks.SelfMasking((2, 3), (2, 3)),
    "SqueezeExcitation": lambda: networks.SqueezeExcitation((5, 3, 2), (5, 3, 2)),
    "TimeMLP": lambda: awake(networks.TimeMLP(((2, 3), (1,)), (2, 5), hidden=6)),
    "UNet": lambda: awake(networks.UNet(((2, 4, 6), (1,)), (2, 4, 6), channels=(4, 8))),
    "ZeroImputed": lambda: networks.ZeroImputed((7,), (2, 3), hidden=(8,)),
}
ENCODERS = [networks.ConvEncoder, networks.ResidualEncoder]
DECODERS = [networks.ConvDecoder, networks.ResidualDecoder]
PAIRS = list(zip(ENCODERS, DECODERS, strict=True))
SIZES = [(28, 28), (32, 32), (64, 64), (28, 20), (17, 31)]


def inputs(net, *leading):
    """One tensor for each input of the network."""
    return [torch.randn(*leading, *s, dtype=torch.float64) for s in input_shapes(net.in_shape)]


def only_input(net, *leading):
    (x,) = inputs(net, *leading)
    return x


def depends(net, x, context=None):
    """Which outputs depend on which inputs at one x: (*out_shape, *in_shape)."""
    if context is None:
        return torch.autograd.functional.jacobian(net, x) != 0
    return torch.autograd.functional.jacobian(lambda c: net(x, c), context) != 0


def smooth(net):
    """The network with each ReLU, which may be dead at one x, made a SiLU, which is not."""
    for part in list(net.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.ReLU):
                setattr(part, name, nn.SiLU())
    return net.double()


def before(num):
    """Whether input e comes before output d: (d, e)."""
    return torch.ones(num, num).tril(-1).bool()


def total_probability(net):
    """The sum over all binary x of prod_d p(x_d), for logits net(x); 1 for no other order."""
    size = math.prod(net.in_shape)
    x = torch.tensor(list(itertools.product((0.0, 1.0), repeat=size)), dtype=torch.float64)
    x = x.reshape(-1, *net.in_shape)
    log_p = -nn.functional.binary_cross_entropy_with_logits(net(x), x, reduction="none")
    return log_p.flatten(1).sum(1).exp().sum().item()


def test_every_network_is_tested_here():
    of_tokens = {"ConvTokensEncoder", "RecurrentEncoder", "TransformerEncoder"}  # in test_tokens
    assert {*CASES, *of_tokens} == set(networks.__all__)


@pytest.mark.parametrize("name", CASES)
class TestEveryNetwork:
    @pytest.mark.parametrize("leading", [(), (3,), (2, 3), (0,)])
    def test_keeps_every_leading_dimension(self, name, leading):
        net = CASES[name]().double().eval()
        h = net(*inputs(net, *leading))
        assert h.shape == (*leading, *net.out_shape) and h.dtype == torch.float64

    def test_treats_every_leading_dimension_alike(self, name):
        net = CASES[name]().double().eval()
        x = inputs(net, 2, 3)
        for i, j in itertools.product(range(2), range(3)):
            torch.testing.assert_close(net(*x)[i, j], net(*(v[i, j] for v in x)))
        assert not net(*x)[0, 0].equal(net(*x)[1, 1])

    def test_has_a_gradient_for_every_parameter(self, name):
        net = CASES[name]().double()
        net(*inputs(net, 2, 3)).square().sum().backward()
        assert all(parameter.grad.abs().max() > 0 for parameter in net.parameters())

    def test_has_a_copy_and_a_saved_state_that_give_the_same(self, name):
        net, twin = CASES[name]().double(), CASES[name]().double()
        net(*inputs(net, 4))
        x = inputs(net, 2)
        assert copy.deepcopy(net).eval()(*x).equal(net.eval()(*x))
        twin.load_state_dict(net.state_dict())
        assert twin.eval()(*x).equal(net(*x))

    def test_refuses_another_shape(self, name):
        net = CASES[name]().double()
        with pytest.raises(
            ValueError, match=rf"this {name} takes \(\.\.\., .*but got \(9, 9, 9, 9"
        ):
            net(*(torch.zeros(9, 9, 9, 9, 9) for _ in inputs(net)))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_is_traced_with_its_gradient(self, name, dtype):
        net = CASES[name]().to(dtype)
        names, values = zip(*net.named_parameters(), strict=True)
        buffers = {key: buffer.clone() for key, buffer in net.named_buffers()}
        x = [v.to(dtype) for v in inputs(net, 2, 3)]

        def step(x, *values):
            state = {**dict(zip(names, values, strict=True)), **buffers}
            loss = functional_call(net, state, tuple(x)).square().sum()
            return loss, *torch.autograd.grad(loss, values)

        graph = make_fx(step)(x, *values)
        other = [v.to(dtype) for v in inputs(net, 2, 3)]
        for got, expected in zip(graph(other, *values), step(other, *values), strict=True):
            torch.testing.assert_close(got, expected)


def test_layers_of_one_batch_dimension_take_any_number():
    layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 6))
    net = Network((4, 4), (2, 3), layers, seen_as=(1, 4, 4)).double()
    x = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(net(x)[4, 2], layers(x[4, 2][None, None]).reshape(2, 3))


@pytest.mark.parametrize("name", ["MLP", "GatedMLP"])
def test_a_dense_network_of_several_inputs_sees_them_flattened_one_after_the_other(name):
    net = getattr(networks, name)(((2, 3), (), (4,)), (2, 5), hidden=(6, 7)).double()
    one = getattr(networks, name)((11,), (2, 5), hidden=(6, 7)).double()
    one.load_state_dict(net.state_dict())
    x = inputs(net, 4)
    torch.testing.assert_close(net(*x), one(torch.cat([v.reshape(4, -1) for v in x], -1)))


def test_missing_entries_of_several_inputs_are_each_zero_beside_their_mask():
    net = networks.ZeroImputed(((2,), (1,)), (3,), hidden=(6,)).double()
    nan = torch.nan
    x, y = torch.tensor([[1.0, nan]]).double(), torch.tensor([[nan]]).double()
    seen = torch.tensor([[math.asinh(1.0), 0.0, 1.0, 0.0, 0.0, 0.0]]).double()
    torch.testing.assert_close(net(x, y), net.mlp.layers(seen))


@pytest.mark.parametrize("name", ["ConvEncoder", "ResidualEncoder"])
def test_an_image_network_of_several_inputs_sees_vectors_as_constant_channels(name):
    net = getattr(networks, name)(((2, 9, 6), (3,), (9, 6)), (2, 5), channels=(4, 8)).double()
    one = getattr(networks, name)((6, 9, 6), (2, 5), channels=(4, 8)).double()
    one.load_state_dict(net.state_dict())
    x, y, mask = inputs(net, 4)
    constant = y[:, :, None, None].expand(4, 3, 9, 6)
    torch.testing.assert_close(net(x, y, mask), one(torch.cat([x, constant, mask[:, None]], 1)))


@pytest.mark.parametrize("name", ["ConvDecoder", "ResidualDecoder"])
def test_a_decoder_of_several_vectors_sees_them_one_after_the_other(name):
    net = getattr(networks, name)(((5,), (3,)), (1, 9, 6), channels=(4, 8)).double()
    one = getattr(networks, name)((8,), (1, 9, 6), channels=(4, 8)).double()
    one.load_state_dict(net.state_dict())
    z, y = inputs(net, 4)
    torch.testing.assert_close(net(z, y), one(torch.cat([z, y], -1)))


def test_joined_inputs_are_the_concatenation_by_hand():
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

    net = networks.Joined(((2, 4, 3), (5,), (1, 4, 3)), (8, 4, 3), network=Double())
    x, y, mask = inputs(net, 6)
    y = inputs(net, 7, 1)[1]  # with a leading dimension more
    parts = (x, y[..., None, None], mask)
    by_hand = torch.cat([v.expand(7, 6, -1, 4, 3) for v in parts], -3)
    assert torch.equal(net(x, y, mask), 2 * by_hand)


def test_added_inputs_are_the_sum_by_hand():
    net = networks.Added(((2, 3), (4,)), (2, 5), hidden=(6, 7), activation=nn.Tanh).double()
    x, y = inputs(net, 8)
    A, a, B, b, C, c, D, d = net.parameters()
    h = (x.flatten(1) @ A.T + a + y @ B.T + b).tanh()
    expected = ((h @ C.T + c).tanh() @ D.T + d).unflatten(-1, (2, 5))
    torch.testing.assert_close(net(x, y), expected)
    plain = networks.Added(((2, 3), (4,)), (2, 5), hidden=()).double()
    A, a, B, b = plain.parameters()
    expected = (x.flatten(1) @ A.T + a + y @ B.T + b).unflatten(-1, (2, 5))
    torch.testing.assert_close(plain(x, y), expected)


def test_inputs_that_are_joined_late_have_gated_layers_of_their_own():
    net = networks.JoinedGatedMLP(((2, 3), (4,)), (5,), hidden=(6, 7)).double()
    x, y = inputs(net, 8)

    def gated(h):
        a, b = h.chunk(2, -1)
        return a * b.sigmoid()

    A, a, B, b, C, c, D, d = net.parameters()
    joint = torch.cat([gated(x.flatten(1) @ A.T + a), gated(y @ B.T + b)], -1)
    torch.testing.assert_close(net(x, y), gated(joint @ C.T + c) @ D.T + d)


@pytest.mark.parametrize("name", ["Added", "Combiner", "ConvEncoder", "Joined", "JoinedGatedMLP"])
def test_leading_dimensions_of_several_inputs_are_broadcast(name):
    shapes = ((2, 9, 6), (4,))
    own = {"hidden": (5, 6)} if name in ("Added", "JoinedGatedMLP") else {}
    options = {"channels": (4, 8)} if name == "ConvEncoder" else own
    net = getattr(networks, name)(shapes, (2, 5), **options).double().eval()
    (x, y), (_, z) = inputs(net, 8), inputs(net, 7, 1)
    assert net(x, z).shape == (7, 8, 2, 5)
    torch.testing.assert_close(net(x, z)[3, 2], net(x[2], z[3, 0]))
    torch.testing.assert_close(net(x[:1], y)[5], net(x[0], y[5]))


def test_a_gated_transition_is_the_papers_formula_and_starts_as_a_random_walk():
    net = networks.GatedTransition((3,), (2, 3), network=partial(networks.MLP, hidden=())).double()
    z = only_input(net, 8)
    (G, g), (P, p) = net.gate.parameters(), net.proposal.parameters()
    gate, proposal = (z @ G.T + g).sigmoid(), z @ P.T + p
    loc, log_scale = net(z).unbind(-2)
    torch.testing.assert_close(loc, (1 - gate) * z + gate * proposal)
    expected = proposal.relu() @ net.log_scale.weight.T + net.log_scale.bias
    torch.testing.assert_close(log_scale, expected)


def test_a_backward_gru_reads_from_the_end_of_each_sequence():
    net = networks.BackwardGRU((4, 2), (4, 5)).double()
    x = only_input(net, 2)
    x[1, 2:] = torch.nan
    x[0, 1, 0] = torch.nan  # missing, which is read as 0
    h = net(x)
    for n, length in enumerate((4, 2)):
        state = net.end[None]
        for t in reversed(range(length)):
            state = net.cell(x[n, t].nan_to_num()[None], state)
            torch.testing.assert_close(h[n, t], state[0])
    assert torch.equal(h[1, 2:], net.end.expand(2, 5))


def test_a_combiner_is_the_papers_formula():
    net = networks.Combiner(((3,), (4,)), (2, 3)).double()
    z, h = inputs(net, 8)
    W, b, V, c = net.parameters()
    expected = ((z @ W.T + b).tanh() + h) / 2 @ V.T + c
    torch.testing.assert_close(net(z, h), expected.unflatten(-1, (2, 3)))


@pytest.mark.parametrize("net", ENCODERS)
def test_an_encoder_makes_a_map_of_the_size_it_ends_in_by_an_affine_map_at_each_place(net):
    net = net((1, 9, 6), (2, 4, 3, 2), channels=(4, 8)).double().eval()
    last = net.layers[-1]
    assert isinstance(last, nn.Conv2d) and last.weight.shape == (8, 8, 1, 1)
    x = inputs(net, 5)[0]
    features = net.layers[:-1](x)
    by_hand = torch.einsum("oc,nchw->nohw", last.weight[..., 0, 0], features)
    by_hand = by_hand + last.bias[:, None, None]
    torch.testing.assert_close(net(x), by_hand.reshape(5, 2, 4, 3, 2))


@pytest.mark.parametrize("net", DECODERS)
def test_a_decoder_takes_a_map_of_the_size_it_begins_with_as_it_is(net):
    net = net(((4, 3, 2), (3,)), (1, 9, 6), channels=(4, 8)).double().eval()
    first = net.layers[0]
    assert isinstance(first, nn.Conv2d) and first.weight.shape == (8, 7, 1, 1)
    z, y = inputs(net, 5)
    seen = torch.cat([z, y[:, :, None, None].expand(5, 3, 3, 2)], 1)
    torch.testing.assert_close(net(z, y), net.layers(seen))


def test_a_map_of_another_size_is_flattened():
    decoder = networks.ConvDecoder((4, 2, 2), (1, 9, 6), channels=(4, 8)).double().eval()
    z = inputs(decoder, 5)[0]
    torch.testing.assert_close(decoder(z), decoder.layers(z.flatten(1)))
    encoder = networks.ConvEncoder((1, 9, 6), (2, 4, 2, 2), channels=(4, 8)).double()
    assert encoder(inputs(encoder, 5)[0]).shape == (5, 2, 4, 2, 2)


def test_a_gated_mlp_is_the_papers_formula():
    net = networks.GatedMLP((3,), (2,), hidden=(4,)).double()
    x = only_input(net, 5)
    first, last = net.layers[0], net.layers[-1]
    (a, b), (bias_a, bias_b) = first.weight.chunk(2), first.bias.chunk(2)
    h = (x @ a.T + bias_a) / (1 + (-(x @ b.T + bias_b)).exp())
    torch.testing.assert_close(net(x), h @ last.weight.T + last.bias)


def test_a_gated_mlp_starts_with_weights_of_variance_2_over_fan_in():
    weight = networks.GatedMLP((400,), (1,), hidden=(500,)).layers[0].weight
    # 400,000 draws: the variance's relative standard error is sqrt(2 / 400,000) = 0.0022
    assert weight.var().item() == pytest.approx(2 / 400, rel=0.01)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("encoder, decoder", PAIRS)
def test_an_image_of_any_size_is_encoded_and_decoded(encoder, decoder, size, channels):
    x_shape, widths = (channels, *size), (2, 4, 4, 8)
    h = encoder(x_shape, (2, 3), channels=widths)(torch.randn(2, *x_shape))
    assert h.shape == (2, 2, 3)
    for out_shape in (x_shape, (2, *x_shape), size):
        net = decoder((3,), out_shape, channels=widths)
        assert net(torch.randn(2, 3)).shape == (2, *out_shape)


def test_a_decoder_has_the_encoders_sizes_in_reverse():
    def shapes(net, kind):
        found = []
        for layer in net.modules():
            if isinstance(layer, kind):
                layer.register_forward_hook(lambda *call: found.append(tuple(call[2].shape[2:])))
        net(torch.zeros(2, *net.in_shape))
        return found

    down = shapes(networks.ConvEncoder((1, 28, 20), (3,)), nn.Conv2d)
    up = shapes(networks.ConvDecoder((3,), (1, 28, 20)), nn.ConvTranspose2d)
    assert down == [(14, 10), (7, 5), (4, 3), (2, 2)]
    assert up == [(4, 3), (7, 5), (14, 10), (28, 20)]


@pytest.mark.parametrize("net", DECODERS)
def test_every_pixel_of_a_decoder_depends_on_every_latent(net):
    net = net((3,), (2, 9, 6), channels=(4, 8), activation=nn.SiLU).double().eval()
    assert depends(net, only_input(net)).all()


@pytest.mark.parametrize("x_shape", [(2, 9, 6), (1, 4, 4)], ids=str)  # the second ends in 1x1
@pytest.mark.parametrize("net", ENCODERS)
def test_every_output_of_an_encoder_depends_on_every_pixel(net, x_shape):
    net = net(x_shape, (3,), channels=(4, 8), activation=nn.SiLU).double().eval()
    assert depends(net, only_input(net)).all()


@pytest.mark.parametrize("name", ["ResidualDecoder", "ResidualEncoder"])
def test_a_residual_block_of_zeros_passes_its_input_on(name):
    net = CASES[name]().double()
    blocks = [part for part in net.layers if hasattr(part, "layers")]
    assert len(blocks) == 2
    for block in blocks:
        for parameter in block.parameters():
            nn.init.zeros_(parameter)
        x = torch.randn(3, block.layers[0].num_channels, 5, 5, dtype=torch.float64)
        assert block(x).equal(x)


def test_convolutional_networks_have_the_parameters_of_a_count_by_hand():
    def count(net):
        return sum(parameter.numel() for parameter in net.parameters())

    # 3x3 weights, scale and shift of the normalizations, and the affine map
    encoder = 3 * 32 * 9 + 2 * 32 + 32 * 64 * 9 + 2 * 64 + 64 * 2 * 2 * 20 + 20
    assert count(networks.ConvEncoder((3, 8, 8), (2, 10), channels=(32, 64))) == encoder
    decoder = 10 * 256 + 256 + 2 * 64 + 64 * 32 * 9 + 2 * 32 + 32 * 6 * 9 + 6
    assert count(networks.ConvDecoder((10,), (2, 3, 8, 8), channels=(32, 64))) == decoder
    # without normalization: a shift alone
    plain = {"channels": (32, 64), "batch_norm": False}
    assert count(networks.ConvEncoder((3, 8, 8), (2, 10), **plain)) == encoder - 32 - 64
    assert count(networks.ConvDecoder((10,), (2, 3, 8, 8), **plain)) == decoder - 2 * 64 - 32


@pytest.mark.parametrize("net", [*ENCODERS, *DECODERS])
def test_an_image_too_small_is_refused_with_its_shape_and_what_it_shrinks_to(net):
    image, other = (1, 8, 5), (3,)
    shapes = (image, other) if net in ENCODERS else (other, image)
    with pytest.raises(ValueError, match=r"4 times.*\(1, 8, 5\).*\(1, 1\) after 3; .*at most 3"):
        net(*shapes)
    net(*shapes, channels=(4, 4, 4))


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("name", ["ConvEncoder", "ConvDecoder"])
def test_batch_normalization_alone_ties_data_together_in_training(name, batch_norm):
    shapes = ((1, 9, 6), (3,)) if name == "ConvEncoder" else ((3,), (1, 9, 6))
    net = getattr(networks, name)(*shapes, channels=(4, 8), batch_norm=batch_norm).double()
    x = only_input(net, 4)
    assert torch.allclose(net(x)[0], net(x[:2])[0]) == (not batch_norm)


@pytest.mark.parametrize(
    "shapes, sizes",
    [
        (((1, 28, 28), (2, 3, 7, 7)), [(28, 28), (14, 14), (7, 7)]),
        (((3, 7, 5), (1, 28, 20)), [(7, 5), (14, 10), (28, 20)]),
        (((1, 17, 31), (2, 6)), [(17, 31), (9, 16), (5, 8), (3, 4)]),
        (((6,), (1, 9, 6)), [(3, 2), (5, 3), (9, 6)]),
        ((((2, 3, 4, 4), (2, 3, 4, 4)), (2, 3, 4, 4)), [(4, 4)]),
    ],
    ids=str,
)
def test_gated_residual_blocks_stand_at_each_size_between_input_and_output(shapes, sizes):
    net, seen = networks.GatedResidual(*shapes, channels=4, blocks=2), []
    for layer in net.layers:
        if "Gated" in type(layer).__name__:
            layer.register_forward_hook(lambda *ends: seen.append(tuple(ends[-1].shape[-2:])))
    assert net(*(x.float() for x in inputs(net, 3))).shape == (3, *shapes[1])
    assert seen == [size for size in sizes for _ in range(2)]


def test_a_gated_block_adds_what_its_gate_lets_through():
    net = networks.GatedResidual((2, 4, 4), (2, 4, 4), channels=4).double().eval()
    (block,) = [layer for layer in net.layers if "Gated" in type(layer).__name__]
    last = block.layers[-2]
    nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([1.0, 2, 3, 4, -50, 0, 0, 50]).double()
    x = torch.randn(1, 4, 4, 4).double()
    added = (block(x) - x)[0, :, 0, 0]
    torch.testing.assert_close(added, torch.tensor([0, 1, 1.5, 4]).double())


def test_an_mlp_normalizes_what_it_is_asked_to():
    shapes, options = ((3,), (2, 2)), {"hidden": (5, 6)}
    for batch_norm, output, norms in [
        (False, False, []),
        (True, False, [5, 6]),
        (True, True, [5, 6, 4]),
    ]:
        net = networks.MLP(*shapes, **options, batch_norm=batch_norm, batch_norm_output=output)
        found = [layer.num_features for layer in net.layers if isinstance(layer, nn.BatchNorm1d)]
        assert found == norms
    h = net.double()(7 * torch.randn(50, 3).double() + 3).flatten(1)  # in training
    torch.testing.assert_close(h.mean(0), torch.zeros(4).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(h.var(0, correction=0), torch.ones(4).double(), atol=1e-2, rtol=0)


@pytest.mark.parametrize("net", [networks.ResidualEncoder, networks.MLP])
def test_other_networks_keep_data_apart_in_training(net):
    net = CASES[net.__name__]().double()
    x = only_input(net, 4)
    torch.testing.assert_close(net(x)[0], net(x[:2])[0])


def test_masked_outputs_depend_on_the_inputs_before_them_and_on_no_other():
    net = smooth(CASES["MaskedMLP"]())
    assert (depends(net, only_input(net)) == before(6)).all()


@pytest.mark.parametrize("hidden", [(), (1,), (3, 50), (50, 2)])
def test_masked_outputs_are_autoregressive_with_any_hidden_units(hidden):
    net = networks.MaskedMLP((7,), (7,), hidden=hidden, activation=nn.Tanh).double()
    assert not (depends(net, only_input(net)) & ~before(7)).any()


@pytest.mark.parametrize(
    "net",
    [
        networks.MaskedMLP((2, 2, 2), (2, 2, 2), hidden=(9,)),
        networks.MaskedMLP((1,), (1,)),
        networks.PixelCNN((1, 2, 4), (1, 2, 4), channels=3, layers=3, kernel_size=3),
        networks.PixelCNN((2, 2, 2), (2, 2, 2), channels=3, layers=1, kernel_size=5),
    ],
)
def test_autoregressive_logits_make_probabilities_that_sum_to_one(net):
    net = net.double()
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    assert total_probability(net) == pytest.approx(1, abs=1e-12)


def test_logits_that_see_what_they_predict_do_not_sum_to_one():
    net = networks.MLP((4,), (4,)).double()
    assert abs(total_probability(net) - 1) > 1e-3


@pytest.mark.parametrize("kernel_size, layers", [(3, 4), (5, 2)])
def test_a_pixelcnn_sees_all_pixels_before_and_none_after_without_a_blind_spot(kernel_size, layers):
    net = smooth(
        networks.PixelCNN(
            (2, 5, 4), (3, 2, 5, 4), channels=4, layers=layers, kernel_size=kernel_size
        )
    )
    seen = depends(net, only_input(net)).reshape(3, 2, 20, 2, 20)
    assert (seen.movedim(3, -1) == before(20)[..., None]).all()  # in every channel


@pytest.mark.parametrize("hidden", [(), (12,), (12, 12)])
def test_every_masked_output_depends_on_the_context(hidden):
    net = networks.MaskedMLP(((6,), (2, 3)), (2, 6), hidden=hidden, activation=nn.Tanh).double()
    x, context = inputs(net)
    assert depends(net, x, context).all()
    seen = torch.autograd.functional.jacobian(lambda x: net(x, context), x) != 0
    assert (seen == before(6)).all()


def test_every_output_of_a_pixelcnn_depends_on_the_context_at_its_pixel():
    net = smooth(
        networks.PixelCNN(((1, 4, 4), (2, 4, 4)), (1, 4, 4), channels=4, layers=3, kernel_size=3)
    )
    x, context = inputs(net)
    of_context = depends(net, x, context).reshape(16, 2, 16)
    assert of_context.diagonal(dim1=0, dim2=2).all()
    of_x = torch.autograd.functional.jacobian(lambda x: net(x, context), x) != 0
    assert (of_x.reshape(16, 16) == before(16)).all()


@pytest.mark.parametrize(
    "net",
    [
        networks.MaskedMLP(((5,), (3,)), (2, 5)),
        networks.PixelCNN(((1, 3, 3), (2, 3, 3)), (2, 1, 3, 3), layers=2),
    ],
)
def test_data_and_a_context_of_particles_are_broadcast(net):
    net = net.double()
    x, context = inputs(net, 4)[0], inputs(net, 3, 4)[1]
    assert net(x, context).shape == (3, 4, *net.out_shape)
    torch.testing.assert_close(net(x, context)[2, 1], net(x[1], context[2, 1]))
    with pytest.raises(ValueError, match="takes 2 inputs, of shapes .* but got 1"):
        net(x)


def test_a_context_that_was_not_announced_is_refused():
    net = networks.MaskedMLP((5,), (5,))
    with pytest.raises(ValueError, match=r"takes 1 input, of shape \(5,\), but got 2"):
        net(torch.zeros(5), torch.zeros(3))


def test_missing_entries_leave_no_nan_and_are_told_from_zeros():
    net = networks.ZeroImputed((3,), (2,), hidden=(8,)).double()
    x = torch.tensor([[1.0, float("nan"), 2.0], [1.0, 0.0, 2.0]], dtype=torch.float64)
    x.requires_grad_()
    h = net(x)
    h.square().sum().backward()
    assert h.isfinite().all() and not h[0].equal(h[1])
    assert x.grad.isfinite().all() and x.grad[0, 1] == 0
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())
    filled = torch.tensor([[1.0, 0.0, 2.0], [1.0, 0.0, 1.0]], dtype=torch.float64)  # with its mask
    filled[0].asinh_()
    torch.testing.assert_close(h[0], net.mlp(filled))


@pytest.mark.parametrize("name", ["MLP", "ConvEncoder", "ResidualEncoder"])
def test_dropout_leaves_out_a_share_in_training_alone_and_keeps_the_mean(name):
    kind, shapes = getattr(networks, name), ((1, 8, 8), (2, 3))
    options = {"hidden": (40,)} if name == "MLP" else {"channels": (4, 8)}
    plain = kind(*shapes, **options).double().eval()
    net = kind(*shapes, **options, dropout=0.3).double().eval()
    for ours, others in zip(net.parameters(), plain.parameters(), strict=True):
        others.data.copy_(ours)
    x = only_input(net)
    torch.testing.assert_close(net(x), plain(x))
    (dropout,) = (m for m in net.modules() if isinstance(m, nn.Dropout))
    seen = []
    dropout.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    dropout.train()  # alone, as batch normalization would make another function of x
    drawn = net(x.expand(20_000, *x.shape))
    # What comes after is affine, so the mean is as without: five standard errors for 6 outputs.
    error = drawn.std(0) / 20_000**0.5
    assert ((drawn.mean(0) - plain(x)).abs() < 5 * error).all()
    before, after = seen[0]
    assert (after[before != 0] == 0).double().mean().item() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    "build, sentence",
    [
        (lambda: networks.GatedResidual((3,), (2,)), "between maps, .* take an MLP"),
        (
            lambda: networks.GatedResidual((1, 28, 28), (2, 10, 10)),
            r"halve \(28, 28\) to \(10, 10\), but comes by \(14, 14\), \(7, 7\); give latents",
        ),
        (lambda: networks.GatedResidual((1, 8, 8), (2,), blocks=0), "blocks is 0"),
        (lambda: networks.GatedMLP((3,), (2,), hidden=(0,)), r"one unit, but got \[3, 0, 2\]"),
        (lambda: networks.ZeroImputed((0,), (2,)), "at least one unit"),
        (lambda: networks.MaskedMLP((3,), (4,)), r"got \(4,\) for inputs \(3,\)"),
        (lambda: networks.MaskedMLP((3,), (3,), hidden=(0,)), "at least one unit"),
        (lambda: networks.ConvEncoder((8,), (2,)), r"\(\.\.\., height, width\), but got \(8,\)"),
        (lambda: networks.MLP((3,), (2,), dropout=1.0), "dropout of an MLP .* below 1, but is 1.0"),
        (lambda: networks.ConvEncoder((1, 16, 16), (2,), dropout=-0.1), "dropout of a ConvEncoder"),
        (lambda: networks.ConvDecoder((2,), (8, 8), channels=()), "positive numbers of channels"),
        (lambda: networks.ResidualEncoder((1, 8, 8), (2,), channels=(4, 0)), "positive numbers"),
        (lambda: networks.ResidualDecoder((2,), (1, 8, 8), channels=(4,), blocks=0), "blocks is 0"),
        (lambda: networks.ConvEncoder((1, 16, 16), (2, 0)), r"positive sizes, but got \(2, 0\)"),
        (lambda: networks.ResidualDecoder((0,), (1, 16, 16)), r"positive sizes, but got \(0,\)"),
        (lambda: networks.MLP(((3,), 4), (2,)), "in_shape is .* must be the shape of one input"),
        (lambda: networks.ConvEncoder(((1, 8, 8), (1, 8, 7)), (2,)), r"all images the size \(8, 8"),
        (lambda: networks.Joined(((1, 8), (1, 7)), (2,)), "cannot be joined"),
        (
            lambda: networks.Joined(((3,), (4,)), (2,), network=networks.MLP((5,), (2,))),
            r"network's in_shape is \(5,\), but this Joined needs \(7,\)",
        ),
        (lambda: networks.JoinedGatedMLP(((3,), (4,)), (2,), hidden=(5,)), "two hidden layers"),
        (lambda: networks.GatedTransition((3,), (2, 4)), r"is \(2, 4\), but .* needs \(2, 3\)"),
        (lambda: networks.BackwardGRU((3, 2), (4, 5)), r"is \(4,\), but .* needs \(3,\)"),
        (lambda: networks.PixelCNN((1, 8, 8), (1, 8, 7)), r"\(1, 8, 8\) and \(1, 8, 7\)"),
        (lambda: networks.PixelCNN((8, 8), (8, 8)), r"\(C, H, W\)"),
        (lambda: networks.PixelCNN((1, 8, 8), (1, 8, 8), kernel_size=4), "odd kernel_size"),
        (lambda: networks.PixelCNN((1, 8, 8), (1, 8, 8), layers=0), "layers"),
        (
            lambda: networks.PixelCNN(((1, 8, 8), (4, 8, 7)), (1, 8, 8)),
            r"got \(\(1, 8, 8\), \(4, 8, 7\)\); give all images the size \(8, 8\)",
        ),
    ],
)
def test_arguments_that_cannot_be_are_refused(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


@pytest.mark.parametrize("encoder, decoder", PAIRS)
def test_a_vae_of_image_networks_passes_its_preflight_and_learns_digits(encoder, decoder):
    x = digits(binarize="threshold").train.x[:200]
    vae = VAE(
        (1, 8, 8),
        4,
        encoder=encoder((1, 8, 8), (2, 4), channels=(8, 16)),
        decoder=decoder((4,), (1, 8, 8), channels=(8, 16)),
    )
    check(vae, x)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}))
    losses = [svi.step(x).item() / len(x) for _ in range(30)]
    # log 2 a pixel, 44.4 nats, is what a decoder that says nothing pays
    assert losses[0] > 42 and sum(losses[-5:]) / 5 < 35

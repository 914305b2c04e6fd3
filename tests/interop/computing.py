"""Programs that compute on shares: products, comparisons and gradients, against PyTorch."""

import torch

from protocols.interop.crypten.importing import crypten
from tests.interop.given import ULP, close, drawn, networks, same, shared

F = torch.nn.functional


def products_agree_with_plain_ones():
    for seed in range(5):
        x, y = drawn(seed, 5, 7), drawn(seed + 99, 7, 3)
        a, b = shared(x), shared(y, src=1)
        close(a @ b, x @ y)
        close(a.matmul(y), x @ y)
        close(a * b.t()[:, :7][0], x * y.t()[0])
        close(a.square(), x.square())
        close(a[0] @ b, x[0] @ y)
        close(a[0].dot(b[:, 0]), x[0].dot(y[:, 0]), ulps=9)


def quotients_agree_with_plain_ones():
    x, y = drawn(7, 3, 4), torch.tensor([1, 2, 3, 64])
    for divisor in (2, 16, 3, -4, 2.5, y):
        close(shared(x) / divisor, x / divisor, ulps=3)


def convolutions_agree_with_plain_ones():
    for seed, (stride, padding, dilation, groups) in enumerate(
        [(1, 0, 1, 1), (2, 1, 1, 1), (1, 2, 2, 2), ((2, 1), (1, 0), (1, 2), 4)]
    ):
        settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        x, w = drawn(seed, 2, 4, 9, 8), drawn(seed + 99, 8, 4 // groups, 3, 3, scale=1)
        close(shared(x).conv2d(shared(w, src=1), **settings), F.conv2d(x, w, **settings))
        close(shared(x).conv2d(w, **settings), F.conv2d(x, w, **settings))
        v = drawn(seed + 9, 4, 6 // groups if groups < 4 else 2, 3, 3, scale=1)
        plain = F.conv_transpose2d(x, v, **settings)
        close(shared(x).conv_transpose2d(shared(v), **settings), plain)
    x, w = drawn(1, 2, 3, 12), drawn(2, 4, 3, 5, scale=1)
    close(shared(x).conv1d(shared(w), padding=2, stride=3), F.conv1d(x, w, padding=2, stride=3))
    close(
        shared(x).conv_transpose1d(shared(w.transpose(0, 1).contiguous()), stride=2),
        F.conv_transpose1d(x, w.transpose(0, 1).contiguous(), stride=2),
    )


def long_products_are_right():
    x, y = drawn(3, 2, 9000, scale=1), drawn(4, 9000, 2, scale=1)
    close(shared(x) @ shared(y), (x.double() @ y.double()).float(), ulps=4)


def comparisons_agree_with_plain_ones():
    for seed in range(3):
        x, y = drawn(seed, 3, 70), drawn(seed + 9, 3, 70)
        y[:, ::3] = x[:, ::3]
        x[0, :4] = torch.tensor([0.0, ULP, -ULP, 2.0**20])
        a, b = shared(x), shared(y, src=1)
        for name in ("lt", "le", "gt", "ge", "eq", "ne"):
            same(getattr(a, name)(b), getattr(torch, name)(x, y))
            same(getattr(a, name)(0.5), getattr(torch, name)(x, 0.5))
        same(a.relu(), x.relu())
        same(a.abs(), x.abs())
        same(a.sign(), torch.where(x < 0, -1.0, 1.0))
        same(crypten.where(a > b, a, b), torch.maximum(x, y))


def maxima_agree_with_plain_ones():
    x = drawn(5, 3, 5, 4)
    a = shared(x)
    same(a.max(), x.max())
    same(a.min(), x.min())
    for dim in (0, 1, 2, -1):
        for keepdim in (False, True):
            largest, where = a.max(dim, keepdim=keepdim)
            same(largest, x.max(dim, keepdim=keepdim).values)
            same(where, F.one_hot(x.argmax(dim), x.shape[dim]).movedim(-1, dim))
            _, place = a.max(dim, keepdim=keepdim, one_hot=False)
            same(place, x.argmax(dim, keepdim=keepdim))
        same(a.min(dim)[0], x.min(dim).values)
        same(a.argmax(dim, one_hot=False), x.argmax(dim))
    same(a.argmax(one_hot=False), x.argmax())
    same(a.argmax(), F.one_hot(x.argmax(), x.numel()).reshape(x.shape))
    same(shared(torch.zeros(4)).argmax(), torch.tensor([1.0, 0, 0, 0]))
    same(shared(x[:1]).max(0)[1], torch.ones(1, 5, 4))


def pools_agree_with_plain_ones():
    for seed, (kernel, stride, padding, dilation, ceil) in enumerate(
        [
            (2, None, 0, 1, False),
            (3, 2, 1, 1, False),
            ((3, 2), (1, 2), (1, 0), 1, False),
            (2, 2, 0, 2, False),
            (3, 2, 1, 1, True),
            (1, 1, 0, 1, False),
        ]
    ):
        x = drawn(seed, 2, 3, 9, 7)
        settings = dict(stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil)
        expected = F.max_pool2d(x, kernel, **settings)
        same(shared(x).max_pool2d(kernel, **settings), expected)
        largest, where = shared(x).max_pool2d(kernel, **settings, return_indices=True)
        same(largest, expected)
        k = (kernel, kernel) if isinstance(kernel, int) else kernel
        assert tuple(where.size()) == (*expected.shape, *k)
        same(where.sum((-1, -2)), torch.ones_like(expected))


def _pool(*args, **kwargs):
    """A max-pool for both: CrypTen's method, PyTorch's function."""
    return lambda v: (
        F.max_pool2d(v, *args, **kwargs)
        if isinstance(v, torch.Tensor)
        else v.max_pool2d(*args, **kwargs)
    )


def gradients_agree_with_pytorchs():
    for seed, (layer, size) in enumerate(
        [
            (lambda v: v.relu(), (3, 40)),
            (_pool(2), (2, 3, 6, 8)),
            (_pool(3, stride=2, padding=1), (2, 3, 7, 7)),
            (lambda v: _pool(2)(_pool(2)(v).relu()), (1, 2, 8, 8)),
            (lambda v: v.max(1)[0], (4, 6)),
        ]
    ):
        x = drawn(seed, *size)
        a, plain = shared(x), x.clone().requires_grad_()
        a.requires_grad = True
        z, expected = layer(a), layer(plain)
        same(z, expected.detach())
        grad = drawn(seed + 50, *expected.shape)
        z.backward(shared(grad))
        expected.backward(grad)
        same(a.grad, plain.grad)


def gradients_of_convolutions_agree_with_pytorchs():
    for rank, (stride, padding, dilation, groups) in (
        (2, (1, 1, 1, 1)),
        (2, (2, 1, 1, 1)),
        (2, (1, 0, 2, 2)),
        (1, (2, 1, 1, 1)),
        (1, (1, 0, 1, 3)),
    ):
        settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        size = (9, 8)[:rank]
        channels = 4 if groups != 3 else 3
        x = drawn(1, 2, channels, *size)
        w = drawn(2, 6, channels // groups, *(3,) * rank, scale=1)
        name = f"conv{rank}d"
        a, b = shared(x), shared(w, src=1)
        a.requires_grad = b.requires_grad = True
        u, v = x.clone().requires_grad_(), w.clone().requires_grad_()
        z, expected = getattr(a, name)(b, **settings), getattr(F, name)(u, v, **settings)
        close(z, expected.detach())
        grad = drawn(3, *expected.shape)
        z.backward(shared(grad))
        expected.backward(grad)
        close(a.grad, u.grad, ulps=4)
        close(b.grad, v.grad, ulps=4)
        data, again = shared(x), shared(w)  # which needs no gradient
        again.requires_grad = True
        getattr(data, name)(again, **settings).backward(shared(grad))
        assert data.grad is None
        close(again.grad, v.grad, ulps=4)


def a_step_of_training_agrees_with_pytorchs():
    theirs, plain = networks()
    theirs.encrypt()
    theirs.train()
    x, y = drawn(1, 4, 1, 8, 8, scale=1), torch.eye(3)[torch.tensor([0, 2, 1, 1])]
    out, expected = theirs(shared(x)), plain(x)
    close(out, expected.detach(), ulps=30)
    loss = (out - shared(y)).square().sum()
    F.mse_loss(expected, y, reduction="sum").backward()
    theirs.zero_grad()
    loss.backward()
    for p, q in zip(theirs.parameters(), plain.parameters(), strict=True):
        close(p.grad, q.grad, ulps=600)

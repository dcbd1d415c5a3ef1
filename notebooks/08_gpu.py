# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # On a GPU
#
# A hashed layer is three small kernels and some matrix products. What becomes of the kernels when not one
# thread runs them but a hundred thousand at once?
#
# This notebook needs no GPU. Numba can *simulate* CUDA: every thread of a kernel becomes a thread
# of Python, with the same indices, barriers and atomic operations, and very slowly. The simulator comes
# with Numba; where a Numba has none any more, the package `numba-cuda` has it (`pip install numba-cuda`).
# It must be asked for before Numba is imported, so that is the first thing to do.

# %%
import os

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
os.environ["NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS"] = "0"

import html
import inspect
import math
import re
import warnings
from hashlib import sha256

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display

try:
    from numba import cuda
except ImportError:
    raise ImportError("this notebook needs the simulator of CUDA: pip install numba-cuda") from None

import minihash
from minihash import figures
from minihash.kernels import numba_cpu, numba_cuda

warnings.filterwarnings("ignore", "overflow encountered", RuntimeWarning)  # uint32 wraps, as it should

FAST = bool(os.environ.get("MINIHASH_FAST"))
plt.rcParams.update(figures.STYLE)
plt.rcParams["figure.dpi"] = 90

# %% [markdown]
# ## The same kernel twice
#
# The layer's weight matrix is virtual, $V_{ij} = \xi(i, j)\, w_{h(i, j)}$ (eq. 7), and is made one *panel*
# of rows at a time. Three kernels do that, on the CPU and on the GPU: `locate` hashes every position of the
# panel into a *slot* (32 bits: the bucket, and the sign in the highest one), `expand` gathers the weights
# by their slots, and `aggregate` adds the gradient of the panel back to the buckets, the sum of eq. 12:
#
# $$\frac{\partial L}{\partial w_k} = \sum_{h(i,j) = k} \xi(i, j)\, \frac{\partial L}{\partial V_{ij}}.$$
#
# Here are the two versions of `expand` beside each other, as they stand in `minihash/kernels`.


# %%
def source(function):
    for name in ("py_func", "fn", "body"):  # compiled functions keep the one they were made of
        function = getattr(function, name, function)
    return re.sub(r"  # type: ignore.*", "", inspect.getsource(function)).rstrip()


def side_by_side(cpu, gpu):
    columns = ["\n\n\n".join(map(source, functions)) for functions in (cpu, gpu)]
    cells = "".join(f'<td style="vertical-align:top; text-align:left"><pre>{html.escape(text)}</pre></td>'
                    for text in columns)
    display(HTML(f"<table><tr><th>CPU</th><th>GPU</th></tr><tr>{cells}</tr></table>"))


side_by_side([numba_cpu.expand_element, numba_cpu._expand_row],
             [numba_cuda.expand, numba_cuda._look_up, numba_cuda._bucket])

# %% [markdown]
# On the left a loop goes over the rows, and two loops over the columns of each, so that the compiler can
# vectorise the change of sign. On the right the columns have no loop. The function is run by many threads;
# `cuda.grid(1)` tells a thread its number, which it takes for its column `c`, and it goes down that column
# in steps of `gridDim.y` rows: `gridDim` is the number of blocks in each direction, `blockDim` the number
# of threads in a block. `SIGN` is the highest bit of a slot, `TILE` all the others. The `if` is there
# because threads come in blocks of fixed size, and the last block may reach beyond the panel.
# (The lines about segments and offsets are for [tiles](02_virtual_matrix.ipynb): here a tile is one weight.)
#
# ## Who does what
#
# A kernel that writes down who was where makes that visible. The launcher chooses the grid: blocks of at
# most `threads` threads along the columns, and in the other direction ⌈rows of the panel / `rows`⌉ blocks,
# so that a thread has `rows` rows at most. The numbers are kept small for the picture; on a GPU they are
# 256 and 8.


# %%
@cuda.jit
def who(block, thread):
    c, r = cuda.grid(1), cuda.blockIdx.y
    if c < block.shape[1]:
        while r < block.shape[0]:
            block[r, c] = cuda.blockIdx.y * cuda.gridDim.x + cuda.blockIdx.x
            thread[r, c] = cuda.threadIdx.x
            r += cuda.gridDim.y


launcher = numba_cuda.LAUNCHER
on_a_gpu = launcher.threads, launcher.rows
launcher.threads, launcher.rows = 32, 4

block, thread = np.full((2, 12, 80), -1)
grid, threads, _ = launcher.elements(block)
who[grid, threads](block, thread)
print(f"a grid of {grid[0]} × {grid[1]} blocks, {threads} threads each")
assert grid == (3, 3) and threads == 32 and block.min() == 0  # every place has been visited

# %% [markdown]
# Left, the block that filled each place of the panel; right, the number of the thread in its block.
# Neighbouring columns belong to neighbouring threads, and that matters most: 32 threads, a *warp*, march in
# step, and what they touch together should lie together in memory.

# %%
figure, axes = plt.subplots(1, 2, figsize=(7, 2.2), layout="constrained")
for axis, values, title in zip(axes, (block, thread), ("block", "thread in its block")):
    shown = axis.imshow(values, figures.SHADES, aspect="auto", interpolation="nearest")
    axis.set(xlabel="column", ylabel="row", yticks=range(0, 12, 3), title=title)
    axis.grid(False)
    figure.colorbar(shown, ax=axis)
plt.show()

launcher.threads, launcher.rows = on_a_gpu

# %% [markdown]
# ## The same bits
#
# Both machines are asked for the same panel. Integers must agree, of course; the floats agree to the bit
# too, because nothing is computed with them: they are copied, and some have their sign bit flipped. (The
# `key` has all that the hash depends on: seed, number of tiles (here of buckets), and signs. `origin` is
# the place of the first entry in $V$; `(1, 0)` says that a tile is one weight, from its start.)

# %%
layer = minihash.HashedLinear(39, 24, num_buckets=100, bias="none", seed=7)
key, origin = (layer.seed, layer.num_buckets, True), (0, 0)
cpu, gpu = numba_cpu.KERNELS["element"], numba_cuda.KERNELS["element"]

panels = []
for kernels in (cpu, gpu):
    slots, panel = np.empty((24, 39), np.uint32), np.empty((24, 39), np.float32)
    kernels.locate(key, origin, slots)
    kernels.expand(layer.weight, slots, (1, 0), panel)
    panels.append(panel)

assert panels[0].tobytes() == panels[1].tobytes() == layer.virtual_weight_matrix().tobytes()
print("V is the same on both, bit for bit")

# %% [markdown]
# ## The price of a gather
#
# Reading the slots is cheap: a warp reads 32 neighbours of 4 bytes, which are four *sectors* of 32 bytes,
# the smallest piece that a GPU's memory gives out. Reading the weights is another matter, as the hash sends
# every thread somewhere else. If $w$ has $S = K / 8$ sectors, then 32 random reads touch
#
# $$S \left(1 - (1 - 1/S)^{32}\right)$$
#
# different ones in the mean: nearly 32 as soon as $K$ is a few thousand. With tiles of 32 weights and more a
# warp reads neighbours: the columns of a segment, in the order of their places, lie side by side in a tile.

# %%
sizes = [2**power for power in range(5, 15)]


def sectors_of_a_warp(tile, K):
    layer = minihash.HashedLinear(256, 256, num_buckets=K, tile=tile, bias="none", seed=1)
    in_order = np.argsort(layer.bucket_map.places)
    buckets, _ = layer.bucket_map(np.arange(256)[:, None], in_order)
    return np.mean([np.unique(warp // 8).size for warp in buckets.reshape(-1, 32)])


element = np.array([sectors_of_a_warp(1, K) for K in sizes])
tiles = np.array([sectors_of_a_warp(32, K) for K in sizes])
S = np.array(sizes) / 8
predicted = S * (1 - (1 - 1 / S) ** 32)
assert np.allclose(element, predicted, rtol=0.03) and (tiles == 4).all()

# %% [markdown]
# The dots are counted from the layers' own maps, the line is the formula. The paper's map climbs to one
# sector a thread; tiles stay at four, whatever the size of the layer.

# %%
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
axes.plot(sizes, predicted, "-", color="black", linewidth=1, label="formula")
axes.plot(sizes, element, "o", color=figures.COLORS[0], label="the paper's map")
axes.plot(sizes, tiles, "s", color=figures.COLORS[1], label="tiles of 32")
axes.set(xlabel="buckets $K$", ylabel="sectors read by a warp", ylim=(0, 34))
axes.set_xscale("log", base=2)
axes.legend()
plt.show()

# %% [markdown]
# That is less bad than it looks: $w$ is small, and lies in the cache. The layer's whole purpose is that it
# fits there.
#
# ## Two threads, one bucket
#
# Now backward. `aggregate` reads a gradient and adds it to a bucket. On the CPU one thread does that for
# its rows, one after the other. On the GPU two threads may want the same bucket at the same time, and
# `grad_weight[k] += g` is three steps: read, add, write. If both have read before one has written, one of
# the two additions is lost.
#
# Python's threads seldom meet in that gap, so the simulator would not show it. But we may put a barrier
# into the gap: `syncthreads` lets no thread of a block go on before all have arrived. That is an order
# which a GPU may choose whenever it likes.


# %%
@cuda.jit
def aggregate_racing(grads, slots, grad_weight):
    t = cuda.grid(1)
    k = slots[t] & numba_cuda.TILE
    before = grad_weight[k]          # read
    cuda.syncthreads()               # all have read, nobody has written
    grad_weight[k] = before + grads[t]


@cuda.jit
def aggregate_atomic(grads, slots, grad_weight):
    t = cuda.grid(1)
    cuda.atomic.add(grad_weight, slots[t] & numba_cuda.TILE, grads[t])


THREADS, BLOCKS = 128, 2 if FAST else 8
grads = np.ones(THREADS * BLOCKS, np.float32)


def sum_up(kernel, K):
    """Return what arrives in K buckets where every thread adds a 1, by itself in its block."""
    slots = np.empty((BLOCKS, THREADS), np.uint32)
    cpu.locate((K, K, True), (0, 0), slots)
    total = 0.0
    for row in slots:  # a block at a time, so that only threads of one block can collide
        grad_weight = np.zeros(K, np.float32)
        kernel[1, THREADS](grads[:THREADS], row, grad_weight)
        total += grad_weight.sum()
    return total / grads.size


shares = np.array([1/8, 1/4, 1/2, 1, 2, 4, 8, 16])  # threads for a bucket
arrived = np.array([sum_up(aggregate_racing, round(THREADS / share)) for share in shares])
assert all(sum_up(aggregate_atomic, K) == 1 for K in (8, 128, 1024))

# %% [markdown]
# With ones for gradients the arithmetic is easy: of all threads that want a bucket, the last to write wins,
# and one addition survives. So what arrives is the number of buckets that are wanted at all. With $\lambda$
# threads a bucket that is a share of
#
# $$\frac{1 - e^{-\lambda}}{\lambda}$$
#
# of what should arrive, as bucket occupancies are Poisson. The dots show the share that survived the race,
# the dashed line is the formula. The stronger the compression, the more is lost: at 16 threads a bucket
# almost everything. The atomic kernel loses nothing at any point.

# %%
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
line = np.geomspace(shares[0], shares[-1], 100)
axes.plot(line, 100 * (1 - np.exp(-line)) / line, "--", color="black", linewidth=1, label="formula")
axes.plot(shares, 100 * arrived, "o", color=figures.COLORS[1], label="read, barrier, write")
axes.axhline(100, color=figures.COLORS[0], label="atomic addition")
axes.set_xscale("log", base=2)
axes.set(xlabel=r"threads for a bucket, $\lambda$", ylabel="gradients that arrive (%)", ylim=(0, 110))
axes.xaxis.set_major_formatter("{x:g}")
axes.legend(loc="lower left")
plt.show()
assert np.abs(arrived - (1 - np.exp(-shares)) / shares).max() < (0.1 if FAST else 0.05)

# %% [markdown]
# So the GPU's `aggregate` adds atomically: read, add and write are one step, which the memory does. This is
# the second pair of kernels. (The lines about `partial` will be explained below.)

# %%
side_by_side([numba_cpu.aggregate_element, numba_cpu._aggregate_row],
             [numba_cuda.aggregate, numba_cuda._add])

# %% [markdown]
# With whole numbers, whose sums are exact in any order, the two must agree exactly. And both must agree
# with the definition, eq. 12 in a loop.

# %%
rng = np.random.default_rng(0)
grad_panel = rng.integers(-9, 10, (24, 39)).astype(np.float32)
slots = np.empty((24, 39), np.uint32)
cpu.locate(key, origin, slots)

by_definition = np.zeros(100, np.float32)
for i in range(24):
    for j in range(39):
        (k,), (sign,) = layer.bucket_map(i, j)
        by_definition[k] += sign * grad_panel[i, j]

for kernels in (cpu, gpu):
    grad_weight = np.zeros(100, np.float32)
    kernels.aggregate(grad_panel.copy(), slots, (1, 0), grad_weight)  # a copy: the panel is used up
    assert (grad_weight == by_definition).all()
print("the buckets' gradients are the same three times")

# %% [markdown]
# ## The order of a sum
#
# Nothing is lost any more, but there is a price. Atomic additions come in any order, a floating-point sum
# depends on its order, and so two runs of the same training differ in their last bits, then in more of
# them.
#
# Whole numbers do not have that flaw. The deterministic variant (`network.to("cuda", deterministic=True)`)
# finds the largest gradient of a panel, scales all by the power of two that brings it just below $2^{31}$,
# cuts them to integers, adds those atomically in 64 bits, and scales back. In NumPy, for the gradients of
# one bucket:

# %%
terms = (rng.normal(size=2000) * 10.0 ** rng.uniform(-3, 0, 2000)).astype(np.float32)


def float_sum(terms):
    return terms.cumsum(dtype=np.float32)[-1]  # one after the other


def integer_sum(terms):
    exponent = 30 - math.floor(math.log2(np.abs(terms).max()))
    integers = (terms * np.float32(2.0**exponent)).astype(np.int64)
    return np.float32(integers.sum()) * np.float32(2.0**-exponent)


exact = math.fsum(terms.tolist())
orders = [rng.permutation(2000) for _ in range(1000)]
floats = np.array([float_sum(terms[order]) for order in orders])
integers = np.array([integer_sum(terms[order]) for order in orders])
print(f"{len(np.unique(floats))} different sums of floats, {len(np.unique(integers))} of integers")
assert len(np.unique(integers)) == 1 < len(np.unique(floats))

# %% [markdown]
# The bars count the errors of a thousand orders of the same 2,000 numbers, a bar for each sum that
# occurred. The sums of floats scatter; the sum of integers, the vertical line, is the same every time, and
# closer to the truth than most.

# %%
figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
sums, times = np.unique(floats, return_counts=True)
width = 1e6 * np.diff(sums).min()  # one unit in the last place
axes.bar((sums - exact) * 1e6, times, 0.8 * width, color=figures.COLORS[5], label="floats, 1,000 orders")
axes.axvline((integers[0] - exact) * 1e6, color=figures.COLORS[1], linestyle="--", linewidth=2,
             label="integers, all orders")
axes.set(xlabel="error of the sum, millionths", ylabel="orders")
axes.legend()
plt.show()
assert abs(integers[0] - exact) < np.median(np.abs(floats - exact))

# %% [markdown]
# The kernels of minihash do the same. One bucket, without signs, and the terms as a panel:

# %%
found = np.zeros(1, np.float32)
aggregate = numba_cuda.DETERMINISTIC["element"].aggregate
aggregate(terms[:200].reshape(4, 50).copy(), np.zeros((4, 50), np.uint32), (1, 0), found)
assert found[0] == integer_sum(terms[:200])

# %% [markdown]
# ## Sums of one's own
#
# Atomic additions to global memory are slow where many want the same bucket, and strong compression means
# just that. A block can first sum into a copy of the buckets of its own, in the multiprocessor's *shared
# memory*, and hand over the copy when it is done. That is what `partial` is for. A copy must fit 48 KiB,
# and handing over costs one addition a bucket and block:
#
# $$\underbrace{\text{rows} \cdot \text{columns}}_{\text{directly}} \qquad\text{against}\qquad
# \underbrace{\text{blocks} \cdot K}_{\text{through copies}} .$$
#
# The launcher takes copies where they fit, if they save half of the additions at least. For copies it takes
# fewer blocks, some 256 in all: here 16 along the columns, and 16 rows of them in place of 4096 / 8 = 512.
# Its decisions for a panel of 4096 × 4096 weights, which is what a GPU gets at a time:

# %%
panel = np.broadcast_to(np.float32(0), (4096, 4096))
sizes = [round(2 ** (power / 4)) for power in range(24, 81)]
additions, by_copies = [], []
for K in sizes:
    grid, threads, shared = launcher.sums(panel, np.empty(K, np.float32))
    by_copies.append(shared > 0)
    additions.append(grid[0] * grid[1] * K if shared else panel.size)
    assert shared in (0, 4 * K) and (grid == (16, 16) if shared else grid == (16, 512))

largest = max(K for K, copies in zip(sizes, by_copies) if copies)
fewer = panel.size / (256 * largest)
print(f"copies up to K = {largest:,} (of those tried): there {fewer:.0f} times fewer additions")
assert 4 * largest <= launcher.shared < 8 * largest

# %% [markdown]
# The solid line is what the launcher does. Small layers are handed over in some ten thousand additions
# instead of 17 million; above 12,288 buckets a copy does not fit, and every weight is added to global memory
# by itself. That comes first for this panel: copies would save half up to 32,768 buckets, where the dashed
# line is at half the height of the dotted one.

# %%
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
axes.plot(sizes, [256 * K for K in sizes], "--", color=figures.COLORS[1], label="copies of 256 blocks")
axes.axhline(panel.size, color=figures.COLORS[2], linestyle=":", label="directly")
jump = sum(by_copies)
for part, label in ((slice(jump), "what the launcher takes"), (slice(jump, None), None)):
    axes.plot(sizes[part], additions[part], color=figures.COLORS[0], linewidth=2.5, label=label)
axes.axvline(launcher.shared / 4, color="black", linewidth=0.8)
axes.text(launcher.shared / 4 / 1.1, 1e8, "48 KiB are full", va="center", ha="right")
axes.set_xscale("log", base=2)
axes.set(yscale="log", xlabel="buckets $K$", ylabel="additions to global memory")
axes.legend(loc="lower right")
plt.show()

# %% [markdown]
# ## A network
#
# Everything above these kernels is written once: layers, losses, optimizers and the driver of panels take
# the device's kernels and its array module. So a whole network goes to the simulated GPU by one call,
# trains there, and can be compared with its twin that stayed. (Blocks of four threads, since each is a
# thread of Python: 256 of them would take minutes.)

# %%
launcher.threads = 4
inputs = rng.normal(size=(16, 4)).astype(np.float32)
labels = (inputs[:, 0] > 0).astype(int) + (inputs[:, 1] > 0)
twins = {}
for name in ("cpu", "cuda"):
    network = minihash.mlp([4, 6, 3], compression=1/2, seed=3).to(name)
    minihash.fit(network, (inputs, labels), epochs=1 if FAST else 2, batch_size=8, seed=0, progress=False)
    twins[name] = network.to("cpu")

launcher.threads = on_a_gpu[0]
difference = max(np.abs(twins["cpu"].params[name] - twins["cuda"].params[name]).max()
                 for name in twins["cpu"].params)
print(f"largest difference of a weight after training: {difference:.1e}")
assert difference < 1e-5

# %% [markdown]
# The difference is 0, though sums in another order may differ in their last bits. But a gradient moves its
# weight by a small step, and a last bit of the step is mostly rounded away where it is added to a weight
# that is much larger. After so few steps of so small a network 0 is no surprise; it is no promise either.

# %% [markdown]
# ## On a GPU
#
# With a GPU nothing changes but the installation, `pip install '.[cuda]'` (numba-cuda for the
# kernels, CuPy for all other arrays), and without `NUMBA_ENABLE_CUDASIM`. [docs/cuda.md](../docs/cuda.md)
# says what is known about speed.
#
# And the simulator's limits? It runs one thread of Python at a time, so it does not see a race unless a
# barrier is put where it hurts, as above. It does not know how wide an integer is: the hash needs 32 bits
# that wrap, which NumPy's scalars do here and a compiler may not. minihash tests both by other means, a
# machine that runs the threads in lockstep and reports every race, and the same device functions compiled
# for the CPU.
#
# ## Exercises
#
# `check(number, answer)` says whether an answer is right. It knows salted hashes of the numbers, not the
# numbers.
#
# 1. A panel of 100 rows and 600 columns goes to a GPU (`threads` 256, `rows` 8). Which thread fills row 57
#    of column 515? Answer with `(blockIdx.x, blockIdx.y, threadIdx.x)`.
# 2. A layer of 784 × 1000 weights at 1/64 has 12,250 buckets. 128 threads of a block add 1 each, by read,
#    barrier and write. How many additions are lost in the mean? Round to one digit after the point.
# 3. Write the kernel `count(slots, counts)`, which adds up how many positions of a panel fall into each
#    bucket. `slots` has any two-dimensional shape and may be larger than the grid: stride over columns too
#    (by `cuda.gridDim.x * cuda.blockDim.x`), and mask the sign with `numba_cuda.TILE`. `check_count` runs
#    it.
# 4. `double` below should double a panel. On a grid of four blocks in the direction of the rows it is right
#    for panels of up to four rows. Find out why, and mend it.
# 5. Up to how many buckets of **float64** does the launcher use copies in shared memory, for the panel of
#    4096 × 4096?


# %%
@cuda.jit
def double(panel):
    c, r = cuda.grid(1), cuda.blockIdx.y
    if c < panel.shape[1] and r < panel.shape[0]:
        panel[r, c] *= 2


ANSWERS = {1: "4d57de5aa88d", 2: "14eb2d1b5548", 5: "cf7ab0d2fc19"}


def plain(answer):
    """Return a number as Python writes it, 2 for 2.0 and for np.int64(2), and several as a tuple."""
    if np.ndim(answer):
        return tuple(map(plain, answer))
    return float(f"{float(answer):.6g}") if float(answer) % 1 else int(answer)


def salted(number, answer):
    return sha256(f"minihash 08 {number} {plain(answer)}".encode()).hexdigest()[:12]


def check(number, answer):
    if answer is None:
        return print(f"exercise {number}: no answer yet")
    try:
        right = salted(number, answer) == ANSWERS[number]
    except (TypeError, ValueError, OverflowError):  # not numbers
        right = False
    print(f"exercise {number}: {'right' if right else 'not yet'}")


def check_count(kernel):
    """Exercise 3: the kernel is run on a grid of (2, 3) blocks of 8 threads."""
    if kernel is None:
        return print("exercise 3: no answer yet")
    slots, counts = np.empty((10, 20), np.uint32), np.zeros(9, np.int64)
    cpu.locate((5, 9, True), (0, 0), slots)
    try:
        kernel[(2, 3), 8](slots, counts)
    except Exception as error:
        return print(f"exercise 3: not yet: {error!r}")
    wanted = minihash.hashing.occupancy(minihash.maps.BucketMap(9, 5, columns=20), 10, 20)
    print("exercise 3:", "right" if (counts == wanted).all() else f"not yet: {counts}, wanted {wanted}")


def check_mended(kernel):
    """Exercise 4: the kernel is run on a grid of (2, 4) blocks of 8 threads."""
    panel = np.ones((10, 13), np.float32)
    try:
        kernel[(2, 4), 8](panel)
    except Exception as error:
        return print(f"exercise 4: not yet: {error!r}")
    wrong = np.unique(np.nonzero(panel != 2)[0])
    print("exercise 4:", f"not yet: rows {wrong}" if wrong.size else "right")


check(1, None)
check(2, None)
check_count(None)
check_mended(double)
check(5, None)

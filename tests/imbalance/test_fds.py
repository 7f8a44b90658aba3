import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rankgrad.imbalance import FDS, calibrate, smoothing_window
from support import PACKAGE, golden, golden_cases

# The original with its references to live buffers removed: the paper's method.
CASES = [case for case in golden_cases("fds") if case.endswith("noalias")]
EPOCHS = range(4)


def build(arrays: dict[str, np.ndarray]) -> FDS:
    cfg = {k.removeprefix("cfg."): v.item() for k, v in arrays.items() if k.startswith("cfg.")}
    low = int(cfg["bucket_start"])
    shape = {"triang": "triangular"}.get(cfg["kernel"], cfg["kernel"])
    return FDS(
        int(cfg["feature_dim"]),
        int(cfg["bucket_num"]) - low,
        low=float(low),
        window=smoothing_window(shape, int(cfg["ks"]), cfg["sigma"], normalize="sum"),
        momentum=None if cfg["momentum"] == "None" else cfg["momentum"],
        start_update=int(cfg.get("start_update", 0)),
        start_smooth=int(cfg.get("start_smooth", 1)),
    )


def used(labels: np.ndarray, fds: FDS) -> np.ndarray:
    """Which samples the original looks at: those beyond an edge need one on it."""
    first, last = fds.low, fds.low + fds.num_bins - 1
    keep = np.ones_like(labels, dtype=bool)
    if not (labels == first).any():
        keep &= labels >= first
    if not (labels == last).any():
        keep &= labels <= last
    return keep


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_original_over_four_epochs(case: str) -> None:
    arrays = golden("fds")[case]
    fds = build(arrays)
    window = arrays["kernel_window"]
    np.testing.assert_allclose(fds.window, window, rtol=1e-5)
    left_out = 0
    for epoch in EPOCHS:
        of = {
            k.split(".", 1)[1]: np.array(v) for k, v in arrays.items() if k.startswith(f"e{epoch}.")
        }
        keep = used(of["labels"], fds)
        left_out += int((~keep).sum())
        labels = torch.tensor(of["labels"][keep])
        x = torch.tensor(of["features"][keep], requires_grad=True)
        smoothed = fds(x, labels)
        np.testing.assert_allclose(
            smoothed.detach(), of["smoothed"][keep], rtol=2e-4, atol=2e-5, err_msg=f"{epoch}"
        )
        smoothed.backward(torch.tensor(of["grad_output"][keep]))
        np.testing.assert_allclose(x.grad, of["grad"][keep], rtol=2e-4, atol=2e-5)

        for batch in torch.split(torch.arange(len(labels)), 17):
            fds.observe(x[batch], labels[batch])
        fds.step()
        expected = {
            "running_mean": fds.running_mean,
            "running_var": fds.running_var,
            "running_mean_last_epoch": fds.mean,
            "running_var_last_epoch": fds.var,
            "smoothed_mean_last_epoch": fds.smoothed_mean,
            "smoothed_var_last_epoch": fds.smoothed_var,
            "num_samples_tracked": fds.samples,
        }
        for name, ours in expected.items():
            np.testing.assert_allclose(ours, of[name], rtol=2e-4, atol=2e-5, err_msg=name)
    assert left_out > 0


@pytest.mark.parametrize("case", golden_cases("calibrate_mean_var"))
def test_calibrate_agrees_with_the_original(case: str) -> None:
    a = golden("calibrate_mean_var")[case]
    x, m1, v1, m2, v2 = (torch.tensor(a[k]) for k in ("matrix", "m1", "v1", "m2", "v2"))
    before = x.clone()
    out = calibrate(x, m1, v1, m2, v2, (a["clip_min"].item(), a["clip_max"].item()))
    np.testing.assert_allclose(out, a["out"], rtol=1e-5, atol=1e-6)
    assert torch.equal(x, before)


def data(n: int = 200, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=g), torch.randint(-2, 12, (n,), generator=g).float()


def test_batches_give_the_statistics_of_the_whole() -> None:
    x, labels = data()
    x = x + 1000  # sums of squares would lose the variance
    fds = FDS(3, 10)
    for batch in torch.split(torch.arange(len(x)), 7):
        fds.observe(x[batch], labels[batch])
    fds.step()
    bins = labels.clamp(0, 9)
    for b in range(10):
        members = x[bins == b].double()
        assert fds.samples[b] == len(members)
        torch.testing.assert_close(fds.running_mean[b].double(), members.mean(0))
        torch.testing.assert_close(
            fds.running_var[b].double(), members.var(0), rtol=2e-3, atol=1e-3
        )


def test_state_does_not_grow_and_survives_a_reload_in_mid_epoch() -> None:
    x, labels = data()
    fds = FDS(3, 10)
    sizes = set()
    for epoch in range(4):
        fds.observe(x, labels)
        fds.step()
        sizes.add(sum(v.numel() for v in fds.state_dict().values()))
        assert int(fds.epoch) == epoch + 1
    assert len(sizes) == 1
    fds.observe(x[:50], labels[:50])
    other = FDS(3, 10)
    other.load_state_dict(fds.state_dict())
    for module in (fds, other):
        module.observe(x[50:], labels[50:])
        module.step()
    torch.testing.assert_close(other(x, labels), fds(x, labels), rtol=0, atol=0)


def test_evaluation_and_the_first_epoch_change_nothing() -> None:
    x, labels = data()
    fds = FDS(3, 10)
    assert fds(x, labels) is x
    for _ in range(3):
        fds.observe(x, labels)
        fds.step()
    assert not torch.equal(fds(x, labels), x)
    fds.eval()
    assert fds(x) is x


def test_bins_never_seen_change_no_feature_by_their_own_statistics() -> None:
    fds = FDS(2, 6)
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(40) % 2
    for _ in range(3):
        fds.observe(x, labels)
        fds.step()
    assert fds.samples.tolist()[2:] == [0, 0, 0, 0]
    assert fds(x, labels).isfinite().all()


def test_half_precision_stays_half() -> None:
    x, labels = data()
    fds = FDS(3, 10)
    for _ in range(2):
        fds.observe(x.bfloat16(), labels)
        fds.step()
    assert fds(x.bfloat16(), labels).dtype == torch.bfloat16


def test_bad_arguments_are_named() -> None:
    x, labels = data()
    with pytest.raises(ValueError, match="feature_dims and num_bins"):
        FDS(0, 3)
    with pytest.raises(ValueError, match="window must have an odd size"):
        FDS(3, 2, window=smoothing_window("gaussian", 5, 2.0, normalize="sum"))
    with pytest.raises(ValueError, match="momentum"):
        FDS(3, 5, momentum=1.5)
    fds = FDS(4, 5, start_smooth=0)
    with pytest.raises(ValueError, match=r"shapes \[n, 4\] and \[n\]"):
        fds(x, labels)
    with pytest.raises(ValueError, match="labels must be given"):
        fds(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="clip must be"):
        calibrate(x, x, x, x, x, clip=(0.0, 1.0))


WORKER = """
import sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from rankgrad.imbalance import FDS
rank, store, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
g = torch.Generator().manual_seed(0)
x, labels = torch.randn(90, 3, generator=g), torch.randint(0, 10, (90,), generator=g)
mine = slice(0, 25) if rank == 0 else slice(25, 90)
fds = FDS(3, 10)
fds.observe(x[mine], labels[mine])
fds.step()
torch.save(fds.state_dict(), f"{out}/{rank}.pt")

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fds, self.head = FDS(3, 10), torch.nn.Linear(3, 1)
    def forward(self, x, labels):
        return self.head(self.fds(x, labels))

net = DistributedDataParallel(Net())
for batch in torch.arange(90)[mine].split(5 if rank == 0 else 13):
    net(x[batch], labels[batch]).sum().backward()
    net.module.fds.observe(x[batch], labels[batch])
net.module.fds.step()
torch.save(net.module.fds.state_dict(), f"{out}/ddp-{rank}.pt")
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_processes_count_each_others_samples(tmp_path: Path) -> None:
    """Also under DistributedDataParallel, which gives every worker the first one's buffers."""
    call = [sys.executable, "-c", WORKER]
    store = str(tmp_path / "store")
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen([*call, str(rank), store, str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    g = torch.Generator().manual_seed(0)
    alone = FDS(3, 10)
    alone.observe(torch.randn(90, 3, generator=g), torch.randint(0, 10, (90,), generator=g))
    alone.step()
    for kind in ("", "ddp-"):
        for rank in range(2):
            state = torch.load(tmp_path / f"{kind}{rank}.pt", weights_only=True)
            for name, value in alone.state_dict().items():
                torch.testing.assert_close(state[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_a_label_that_is_no_number_is_refused() -> None:
    x, labels = data()
    fds = FDS(3, 10, start_smooth=0)
    labels = labels.double()
    labels[3] = torch.nan
    with pytest.raises(ValueError, match="labels must be finite"):
        fds(x, labels)
    with pytest.raises(ValueError, match="labels must be finite"):
        fds.observe(x, labels)


@pytest.mark.compile
def test_compiles_no_more_often_than_it_changes() -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend("aot_eager")
    x, labels = data()
    fds = FDS(3, 10)
    compiled = torch.compile(fds, fullgraph=True, backend=counter)
    for _ in range(5):
        torch.testing.assert_close(compiled(x, labels), fds(x, labels))
        fds.observe(x, labels)
        fds.step()
    assert counter.frame_count <= 2  # before the first epoch with statistics, and from then on

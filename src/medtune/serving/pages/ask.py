"""Pages to ask a question and to see what became of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, HTTPException, Response
from pydantic import ValidationError

from medtune.core.records import LETTERS, MAX_OPTIONS, MIN_OPTIONS
from medtune.core.schemas.guardrails import Inquiry
from medtune.serving.api.answers import RequestId, load_request, reply_from_record
from medtune.serving.api.openai_compat import MAX_TEXT_LENGTH, parse_question
from medtune.serving.api.request_models import (
    MAX_OPTION_LENGTH,
    MAX_STEM_LENGTH,
    MAX_SUBJECT_LENGTH,
    AnswerRequest,
    FeedbackRequest,
)
from medtune.serving.auth.authorize import DeniedError
from medtune.serving.dependencies import ServicesDep, StoreDep, admit_or_postpone
from medtune.serving.errors import ENDPOINT_ERRORS, InvalidError
from medtune.serving.pages.page_request import (
    AskPageRequest,
    PageRequest,
    QuestionRequest,
    VerifiedRequest,
)
from medtune.serving.pages.page_route import PageRoute
from medtune.serving.schemas import Reply

MAX_LENGTHS = {"stem": MAX_STEM_LENGTH, "option": MAX_OPTION_LENGTH, "subject": MAX_SUBJECT_LENGTH}
NO_OPTIONS_MESSAGE = (
    "A question needs at least two options: fill in A and B, or paste everything into the "
    "question field, with lines that begin with A. B. C."
)
VISIBLE_OPTIONS = 4
"""Options shown before "More options" is opened."""
router = APIRouter(route_class=PageRoute)


@dataclass(frozen=True)
class FormInput:
    """The fields of the question form."""

    stem: str = ""
    options: tuple[str, ...] = ("",) * MAX_OPTIONS
    subject: str = ""

    @property
    def raw_inquiry(self) -> Inquiry:
        """Everything that was typed, valid or not."""
        options = tuple(option for option in self.options if option)
        return Inquiry(stem=self.stem, options=options, subject=self.subject or None)

    @classmethod
    def from_request(cls, page: PageRequest) -> FormInput:
        """Read a form; missing fields are empty."""
        options = page.form_texts("option")
        empty = [""] * (MAX_OPTIONS - len(options))
        return cls(page.form_text("stem"), (*options, *empty), page.form_text("subject"))

    def to_inquiry(self) -> Inquiry:
        """Return the inquiry for the guards; options may be typed into the question as well.

        Too few options are not rejected here: a guard may have a better reason.

        Raises:
            InvalidError: The form is empty, too long, or has equal options.
        """
        options = tuple(option for option in self.options if option)
        stem = self.stem
        if not options:
            if len(stem) > MAX_TEXT_LENGTH:
                raise InvalidError(f"The question has more than {MAX_TEXT_LENGTH:,} characters.")
            found = parse_question(stem)
            stem, options = found.stem, found.options
        texts = [("stem", stem), *(("option", o) for o in options), ("subject", self.subject)]
        for kind, text in texts:
            if len(text) > MAX_LENGTHS[kind]:
                name = {"stem": "question", "option": "longest option"}.get(kind, kind)
                raise InvalidError(f"The {name} has more than {MAX_LENGTHS[kind]:,} characters.")
        if len(options) > MAX_OPTIONS:
            raise InvalidError(f"There are more than {MAX_OPTIONS} options.")
        if not stem:
            raise InvalidError("Write a question first.")
        inquiry = Inquiry(stem=stem, options=options, subject=self.subject or None)
        if len(options) >= MIN_OPTIONS:
            try:
                return AnswerRequest(
                    stem=stem, options=options, subject=inquiry.subject
                ).to_inquiry()
            except ValidationError as error:
                raise InvalidError("Two options are the same.") from error
        return inquiry


@router.get("/")
async def show_ask_form(
    page: VerifiedRequest, services: ServicesDep, token: str | None = None
) -> Response:
    """Show the question form; the address printed at the start signs in."""
    if token is not None:
        return await _sign_in_with_start_token(page, services, token)
    await page.admit("ask", cost=0)
    return _ask_page(page, FormInput())


async def _sign_in_with_start_token(
    page: PageRequest, services: ServicesDep, token: str
) -> Response:
    """Exchange the start token for a session, and remove it from the address."""
    start = services.authorizer.start
    if start is None or not start.matches_text(token):
        text = "This address has a token of another start. Use the one that is printed now."
        return page.page_response("problem.html", DeniedError(401, "no start token"), text)
    response = page.redirect("/")
    await page.sign_in(token, response)
    return response


@router.post("/")
async def post_question(page: QuestionRequest, services: ServicesDep) -> Response:
    """Answer a question; it is shown on the page and never put into an address."""
    rejection = page.rejection
    typed = FormInput.from_request(page)
    inquiry = typed.raw_inquiry
    try:
        try:
            page.verify_form_origin()
            inquiry = await services.run_in_admission_thread(typed.to_inquiry)
            if await services.engine.only_lacks_options(inquiry, page.caller or None):
                raise InvalidError(NO_OPTIONS_MESSAGE)
            rejection = rejection or (await admit_or_postpone(page.admit("ask"))).rejection
        except (InvalidError, HTTPException) as error:
            rejection = rejection or error
        # A crisis gets its card, whatever else is wrong with the form or its sender.
        (reply,) = await services.engine.answer([inquiry], page.caller or None, rejection)
    except HTTPException:
        raise  # the content of a foreign form is not shown
    except ENDPOINT_ERRORS as error:
        return _ask_page(page, typed, error)
    return _ask_page(page, typed, inquiry=inquiry, **_reply_values(reply, services))


@router.get("/answer/{request_id}")
async def show_request(
    request_id: RequestId,
    page: AskPageRequest,
    services: ServicesDep,
    store: StoreDep,
    thanks: bool = False,
) -> Response:
    """Show the current reply to a question."""
    entry, reviewed = await asyncio.to_thread(load_request, store, request_id, page.caller)
    return page.page_response(
        "fate.html",
        entry=entry,
        final=reviewed.final if reviewed else None,
        thanks=thanks,
        **_reply_values(reply_from_record(entry, reviewed), services),
    )


@router.post("/answer/{request_id}/feedback")
async def post_feedback(request_id: RequestId, page: AskPageRequest, store: StoreDep) -> Response:
    """Store feedback on an answer."""
    helpful = {"yes": True, "no": False}.get(page.form_text("helpful"))
    letter = page.form_text("corrected")
    corrected = letter if len(letter) == 1 and letter in LETTERS else None
    if helpful is None and corrected is None:
        raise InvalidError("Say whether the answer helped, or which letter is right.")
    said = FeedbackRequest(request_id=request_id, helpful=helpful, corrected=corrected)
    await asyncio.to_thread(store.requests.set_feedback, said.to_feedback())
    return page.redirect(f"/answer/{request_id}?thanks=1")


def _ask_page(
    page: PageRequest, typed: FormInput, error: Exception | None = None, **values: Any
) -> Response:
    predictor = page.services.engine.predictor
    none: dict[str, Any] = {"inquiry": None, "reply": None, "kept": False}
    return page.page_response(
        "ask.html",
        error,
        **{
            **none,
            "typed": typed,
            "shown": VISIBLE_OPTIONS,
            "max_lengths": MAX_LENGTHS,
            "subjects": predictor.calibration.subjects if predictor.calibration else (),
            "strict": predictor.policy.confidence.unseen in ("defer", "refuse"),
            "predictor": predictor,
            **values,
        },
    )


def _reply_values(reply: Reply, services: ServicesDep) -> dict[str, Any]:
    calibration = services.engine.predictor.calibration
    return {
        "reply": reply,
        "level": calibration.level if calibration else None,
        "kept": services.store is not None,
    }

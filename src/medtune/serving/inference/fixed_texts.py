"""The disclaimer, and the cards that are shown instead of an answer."""

from __future__ import annotations

from medtune.core.schemas.guardrails import CardName
from medtune.serving.schemas import FixedText

DISCLAIMER = (
    "Answers to exam questions, for education and research. Not medical advice: no diagnosis, "
    "no prescription, no help in an emergency. Models and passages can be wrong; check them."
)

CARDS: dict[CardName, FixedText] = {
    "crisis": FixedText(
        name="crisis",
        title="Please get help now",
        text=(
            "This service only answers exam questions and cannot help in an emergency. "
            "If you or someone near you is in danger, has taken too much of something, or thinks "
            "of ending their life, call your emergency number now: 112 in Europe and India, 999 in "
            "the United Kingdom, 911 in North America, 000 in Australia. "
            "To talk to somebody at any hour: 988 (United States), 116 123 (United Kingdom, "
            "Ireland and much of Europe), 14416 (India), 13 11 14 (Australia), or see "
            "findahelpline.com for your country. For poisons call your poison centre; in the "
            "United States 1-800-222-1222. You do not have to be sure to call."
        ),
    ),
    "scope": FixedText(
        name="scope",
        title="This is outside what can be answered here",
        text=(
            "This service answers multiple-choice exam questions about medicine, for education and "
            "research. It does not advise about a person's health, medicines or results, writes no "
            "prescriptions, and does not help to harm anyone. For advice about a person ask a "
            "doctor, a pharmacist or a nurse; in an emergency call your emergency number. "
            "An exam question has a stem and two to ten lettered options."
        ),
    ),
}

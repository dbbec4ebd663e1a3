"""Open the guards of a policy: the learned guard, the tagger, and the engines that it names."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from medtune.core.errors import InputError, UnknownModelError
from medtune.guardrails.classifier.learned import load_classifier, load_default_classifier
from medtune.guardrails.moderation import ModerationGuard
from medtune.guardrails.pipeline import Guards
from medtune.guardrails.policy import Moderation, Policy, load_policy
from medtune.guardrails.privacy.identifiers import IdentifierFinder, find_identifiers
from medtune.guardrails.privacy.tagger import load_tagger

MODERATION_KEY_VARIABLE = "MEDTUNE_MODERATION_KEY"
"""Environment variable of the moderation server's key; the model's own key is not sent to it."""
LISTING_TIMEOUT_S = 10.0
"""Longest that its list of models may take."""
MODERATION_REQUESTS = 16
"""Most requests to a moderation server at the same time."""


def open_guards(
    policy: Path | Policy | None = None, learned: Path | None = None, tagger: Path | None = None
) -> Guards:
    """Open the guards of a policy; None are the shipped policy, learned guard and tagger.

    Raises:
        InputError: One of the files cannot be used, or an engine is not to be had.
        RemoteError: The server of the moderation model does not answer.
        ModuleNotFoundError: The extra of an engine is not installed.
    """
    rules = _load_policy(policy)
    classifier = load_classifier(learned) if learned else load_default_classifier()
    find, engine = open_finder(rules, tagger)
    return Guards(
        policy=rules,
        classifier=classifier,
        find_identifiers=find,
        privacy_engine=engine,
        moderation=_open_moderation(rules.moderation) if rules.moderation else None,
    )


def open_finder(
    policy: Path | Policy | None = None, tagger: Path | None = None
) -> tuple[IdentifierFinder, str | None]:
    """Return the finder of identifiers, and the name of its engine if it is not medtune's own.

    Raises:
        InputError: Policy, tagger or spaCy model cannot be used.
        ModuleNotFoundError: The extra of the engine is not installed.
    """
    privacy = _load_policy(policy).privacy
    find: IdentifierFinder = find_identifiers
    engine = None
    if tagger is not None:
        opened = load_tagger(tagger)
        find, engine = partial(find_identifiers, tagger=opened), f"tagger {opened.hash[:12]}"
    if privacy.engine is None:
        return find, engine
    # Read when it is imported: a pattern may take 2 s, and spaCy stays off a GPU, whose state other
    # threads do not share.
    os.environ.setdefault("REGEX_TIMEOUT_SECONDS", "2")
    os.environ.setdefault("PRESIDIO_DEVICE", "cpu")
    from medtune.guardrails.privacy.presidio import PresidioFinder  # an extra, and takes seconds

    finder = PresidioFinder(find, privacy.spacy_model, privacy.score)
    return finder, " + ".join(filter(None, (finder.engine, engine)))


def _load_policy(policy: Path | Policy | None) -> Policy:
    return policy if isinstance(policy, Policy) else load_policy(policy)


def _open_moderation(rule: Moderation) -> ModerationGuard:
    from medtune.models.remote.api import ServedModel
    from medtune.models.remote.http import Server
    from medtune.models.remote.name import RemoteName

    keys = (MODERATION_KEY_VARIABLE,)
    try:
        name = RemoteName.parse(rule.server)
    except UnknownModelError as error:
        raise InputError(
            f"[moderation] server: {error.found}",
            expected="remote:URL#NAME",
            fix=f"a key is read from the environment variable {MODERATION_KEY_VARIABLE}",
        ) from error
    # It is found patiently, and then asked once a question.
    served = ServedModel(name, Server(key_variables=keys, timeout_s=LISTING_TIMEOUT_S))
    served.server = Server(
        parallel=MODERATION_REQUESTS, timeout_s=rule.timeout_s, retries=0, key_variables=keys
    )
    return ModerationGuard(rule, served)

"""Which names of people are nobody's: eponyms and history."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

MATTER = re.compile(
    r"(?:'s|s'|’s)?[ -](?:(?!about|the|with|for|and|in|on|of|has|had|is|was|to)\w+[ -])?(?:syndromes?|diseases?|signs?|tests?|scores?|scales?|nodules?|"
    r"nodes?|murmurs?|pulses?|points?|laws?|triads?|tetralogy|palsy|palsies|fractures?|tumou?rs?|"
    r"lymphomas?|sarcomas?|criteria|classifications?|stag(?:e|ing)|bod(?:y|ies)|cells?|cysts?|duct|"
    r"ring|line|lines|plane|space|canal|ligaments?|fascia|man(?:o|oeu)uvres?|maneuvers?|reflex|"
    r"phenomenon|effect|reaction|stains?|agar|medium|procedure|operation|incision|approach|forceps|"
    r"catheter|tube|splint|bandage|position|contractures?|ulcers?|hernia|diverticulum|anaemia|"
    r"anemia|chorea|ataxia|dystrophy|encephalopathy|psychosis|nephropathy|vasculitis|thyroiditis|"
    r"oesophagus|esophagus|pupils?|index|curve|formula|equation|model|theory|principle|test|sulcus|"
    r"rule|ruling|case|judg(?:e)?ment|act|virus|bacillus|theorem|diagram|nomogram|chart|method|"
    r"technique|loop|gland|patch(?:es)?|spots?|rash|pox|fever|facies|gait|breathing|respiration|"
    r"crisis|attack|seizures?|epilepsy|aphasia|area|gyrus|tract|nucleus|ganglion|plexus|valve|shunt|"
    r"proteins?|proteinuria|hormones?|contractions?|malformations?|complex|ears?|packs?|conference|yojana|dictum|regimen|design|report|declaration|standard|oath|code)\b",
    re.IGNORECASE,
)
"""What stands behind a name that is an eponym."""

HISTORY = frozenset(
    """
    abraham addison boerhaave alzheimer apgar aristotle asclepius asperger auenbrugger avicenna
    babinski banting barre beaumont behring bernard billroth bleuler bowman broca brodmann
    burkitt cavell celsus chain charcot charnley chiari colles crick crohn curie cushing
    darwin dupuytren durkheim ebers ehrlich eijkman einthoven erikson evans fallot farr
    fleming florey forssmann franklin freud gage galen galton goldberger golgi goodpasture
    guillain guthrie hahnemann halsted hansen hashimoto heimlich helmholtz hippocrates
    hodgkin hofmann hounsfield huntington imhotep jenner joseph jung kaposi kernohan kinsey
    klinefelter koch kohlberg korotkoff kraepelin krebs lacks laennec landsteiner langerhans
    laveran leeuwenhoek levi-montalcini lind lister locard macewen magendie malpighi marfan
    mayo mcburney meckel mendel menninger metchnikoff moniz morgagni nightingale osler paget
    papanicolaou paracelsus parkinson pasteur pavlov piaget pinel pott purkinje ramazzini
    rhazes roentgen sabin salk schleiden schwann seacole semmelweis snow spallanzani starzl
    sydenham szasz trotula trousseau vesalius virchow waksman wernicke wilson withering
    wundt yersin
    """.split()
)
"""People of medicine's history, who stand in exam questions under their titles."""


PIONEERS = (
    "ronald ross", "william harvey", "elizabeth blackwell", "christiaan barnard", "cicely saunders",
    "ramón y cajal", "santiago ramón", "levi-montalcini", "barry marshall", "bradford hill",
    "phineas gage", "henrietta lacks", "ignaz semmelweis", "hermann boerhaave", "edith cavell",
    "rutherford morison", "ivor lewis", "graham steell", "austin flint", "elmer salmon",
    "kiyoshi shiga", "carlos chagas", "oswaldo cruz", "ann arbor", "ryan white",
    "kaiser permanente", "callista roy", "hildegard peplau", "virginia henderson",
    "martha rogers", "patricia benner", "archie cochrane", "jean watson", "conrad röntgen",
    "john hunter", "thomas sydenham", "james simpson", "john snow", "jonas salk", "albert sabin",
    "charles bell", "edward long", "mary seacole", "dorothea dix", "clara barton", "alois alzheimer",
    "robert koch", "joseph lister", "edward jenner", "james parkinson", "james watson",
    "francis crick", "rosalind franklin", "howard florey", "ernst chain", "frederick banting",
    "charles best", "paul ehrlich", "emil behring", "karl landsteiner", "max pettenkofer",
    "rudolf virchow", "ivan pavlov", "carl jung", "sigmund freud", "jean piaget", "erik erikson",
    "lawrence kohlberg", "abraham maslow", "john bowlby", "mary ainsworth", "henry gray",
)  # fmt: skip
"""Full names of history whose surnames are everybody's."""


@cache
def given_names() -> frozenset[str]:
    """Read first names of many languages (collected from Faker 40, MIT), common words left out."""
    return frozenset((files("medtune.guard") / "given_names.txt").read_text("utf-8").split())


@cache
def lone_names() -> frozenset[str]:
    """Read the first names that tell a person without a surname.

    Those that medicine's texts have, too (eponyms, places, drugs), do not.
    """
    shared = (files("medtune.guard") / "shared_names.txt").read_text("utf-8").split()
    return given_names() - frozenset(shared)


def is_nobodys(name: str, after: str) -> bool:
    """Tell whether a name is an eponym or history.

    Args:
        name: Without title.
        after: What follows it in the text.
    """
    if MATTER.match(after) or MATTER.search(name):
        return True
    if any(full in name.casefold() for full in PIONEERS):
        return True
    parts = re.split(r"[ -]", re.sub(r"(?:'s|’s)$", "", name))
    return any(part.casefold() in HISTORY for part in parts)

"""Writes the bodies that the benchmark's upstream serves. No chance in it: the same day gives the same bytes.

    bodies.py FOLDER BASE_URL [--stream-bytes N] [--today YYYY-MM-DD]

writes into FOLDER
    patient.json      one Patient of about 2.7 KB
    searchset.json    a Bundle of 50 Observations of about 88 KB
    stream.json       a Bundle of as many Observations as N bytes hold
    metadata.json     a CapabilityStatement

Everything that some caller must not see carries a word that starts with `CANARY`, so that one search tells whether it
leaked. Every concept is coded, since what no code list can judge is withheld from some callers. Dates count back from
the day, because the shipped policies show billing the last year only.
"""

import argparse
import datetime
import json
import pathlib

PATIENT = "p1"

# The two searches that the upstream knows tell themselves apart by `_count`.
PAGE = 50
EVERYTHING = 100000


def text(value):
    """JSON as servers write it: no white space, no escapes but the needed ones."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def coding(system, code, display):
    return {"system": system, "code": code, "display": display}


def narrative(words):
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{words}</div>'}


def patient(today):
    use = "http://terminology.hl7.org/CodeSystem/v2-0203"
    return {
        "resourceType": "Patient",
        "id": PATIENT,
        "meta": {"versionId": "3", "lastUpdated": f"{today.isoformat()}T08:30:00.000+00:00"},
        "text": narrative(
            "<p>CANARY-NARRATIVE: Ottilie CANARY-FAMILY, born in March, lives at 17 CANARY-STREET with her sister and "
            "two children. She works the night shift at the paper mill and asks to be called after four in the "
            "afternoon. Her neighbour holds a key to the flat and looks after the dog when she is in hospital. She "
            "prefers letters in large print, and reads English and Norwegian. The practice agreed to send reminders "
            "two days before each visit; she missed one in spring because the letter went to her former address. A note "
            "from the social worker is filed with the letters; a copy of her living will is kept at the front desk.</p>"
        ),
        "identifier": [
            {
                "use": "usual",
                "type": {"coding": [coding(use, "MR", "Medical record number")], "text": "Medical record number"},
                "system": "urn:oid:2.16.840.1.113883.19.5.1",
                "value": "CANARY-MRN-0048213",
            },
            {
                "use": "official",
                "type": {"coding": [coding(use, "SS", "Social security number")]},
                "system": "http://hl7.org/fhir/sid/us-ssn",
                "value": "CANARY-SSN-999-12-3456",
            },
        ],
        "active": True,
        "name": [
            {"use": "official", "family": "CANARY-FAMILY", "given": ["Ottilie", "Marguerite"], "prefix": ["Ms."]},
            {"use": "maiden", "family": "CANARY-MAIDEN", "given": ["Ottilie", "Marguerite"]},
        ],
        "telecom": [
            {"system": "phone", "value": "+1 555 0142 CANARY-PHONE", "use": "home", "rank": 1},
            {"system": "phone", "value": "+1 555 0177 CANARY-MOBILE", "use": "mobile", "rank": 2},
            {"system": "email", "value": "ottilie.CANARY-MAIL@example.org", "use": "home"},
        ],
        "gender": "female",
        "birthDate": "1961-03-14",
        "address": [
            {
                "use": "home",
                "type": "both",
                "line": ["17 CANARY-STREET", "Flat 4"],
                "city": "CANARY-CITY",
                "district": "CANARY-COUNTY",
                "state": "MA",
                "postalCode": "02139",
                "country": "US",
                "period": {"start": "2011-06-01"},
            }
        ],
        "maritalStatus": {
            "coding": [coding("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "S", "Never Married")],
        },
        "contact": [
            {
                "relationship": [
                    {"coding": [coding("http://terminology.hl7.org/CodeSystem/v2-0131", "N", "Next-of-Kin")]}
                ],
                "name": {"family": "CANARY-KIN", "given": ["Solveig"]},
                "telecom": [{"system": "phone", "value": "+1 555 0190 CANARY-KINPHONE"}],
            }
        ],
        "communication": [
            {"language": {"coding": [coding("urn:ietf:bcp:47", "en-US", "English (United States)")]}, "preferred": True}
        ],
        "generalPractitioner": [{"reference": "Practitioner/gp7", "display": "Dr. Amos Thackeray"}],
        "managingOrganization": {"reference": "Organization/north"},
    }


MEASURES = [
    ("8867-4", "Heart rate", "/min", "beats/minute", 61, 38),
    ("9279-1", "Respiratory rate", "/min", "breaths/minute", 12, 9),
    ("8310-5", "Body temperature", "Cel", "C", 36, 3),
    ("29463-7", "Body weight", "kg", "kg", 58, 40),
    ("2339-0", "Glucose [Mass/volume] in Blood", "mg/dL", "mg/dL", 70, 110),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", "g/dL", 10, 7),
]


def observation(number, today):
    code, display, unit, words, low, span = MEASURES[number % len(MEASURES)]
    day = today - datetime.timedelta(days=1 + number % 300)
    value = low + number * 7 % span + number % 10 / 10
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "meta": {"versionId": "1", "lastUpdated": f"{day.isoformat()}T09:12:44.120+00:00"},
        "text": narrative(
            f"<p>CANARY-NARRATIVE: {display} of Ottilie CANARY-FAMILY was {value:.1f} {words} on the ward that morning, "
            "taken at rest by the nurse on duty and read back to the patient, who had slept well and ate.</p>"
        ),
        "identifier": [{"system": "urn:oid:2.16.840.1.113883.19.5.9", "value": f"CANARY-ACC-{number:06}"}],
        "status": "final",
        "category": [
            {
                "coding": [
                    coding(
                        "http://terminology.hl7.org/CodeSystem/observation-category",
                        "laboratory" if number % len(MEASURES) > 3 else "vital-signs",
                        "Laboratory" if number % len(MEASURES) > 3 else "Vital Signs",
                    )
                ]
            }
        ],
        "code": {"coding": [coding("http://loinc.org", code, display)], "text": display},
        "subject": {"reference": f"Patient/{PATIENT}", "display": "Ottilie CANARY-FAMILY"},
        "encounter": {"reference": f"Encounter/e{number % 7}"},
        "effectiveDateTime": f"{day.isoformat()}T09:05:00+00:00",
        "issued": f"{day.isoformat()}T09:12:44.120+00:00",
        "performer": [{"reference": "Practitioner/gp7", "display": "Dr. Amos Thackeray"}],
        "valueQuantity": {
            "value": round(value, 1),
            "unit": words,
            "system": "http://unitsofmeasure.org",
            "code": unit,
        },
        "interpretation": [
            {
                "coding": [
                    coding("http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "N", "Normal")
                ],
                "text": "within the range of reference",
            }
        ],
        "note": [{"text": f"CANARY-NOTE {number}: taken again after ten minutes of rest, no change worth noting for the ward round."}],
        "referenceRange": [
            {
                "low": {"value": low, "unit": words, "system": "http://unitsofmeasure.org", "code": unit},
                "high": {"value": low + span, "unit": words, "system": "http://unitsofmeasure.org", "code": unit},
            }
        ],
    }


def bundle(out, base, today, count=None, byte_count=None):
    """Writes entries until there are `count` of them, or the Bundle has `byte_count` bytes."""
    head = {
        "resourceType": "Bundle",
        "id": "search",
        "type": "searchset",
        "link": [{"relation": "self", "url": f"{base}/Observation?_count={PAGE if count else EVERYTHING}"}],
    }
    written = out.write(text(head)[:-1] + ',"entry":[')
    number = 0
    while number < count if count is not None else written < byte_count:
        entry = {
            "fullUrl": f"{base}/Observation/o{number}",
            "resource": observation(number, today),
            "search": {"mode": "match"},
        }
        written += out.write(("," if number else "") + text(entry))
        number += 1
    out.write("]}")


def metadata(base):
    interactions = [{"code": "read"}, {"code": "search-type"}]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-01",
        "kind": "instance",
        "software": {"name": "static files"},
        "implementation": {"description": "bodies of the benchmark", "url": base},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "rest": [
            {
                "mode": "server",
                "resource": [{"type": name, "interaction": interactions} for name in ("Patient", "Observation")],
            }
        ],
    }


def main():
    parser = argparse.ArgumentParser(description="Writes the bodies that the benchmark's upstream serves.")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("base", help="the upstream's base URL, without a trailing slash")
    parser.add_argument("--stream-bytes", type=int, default=0, help="size of stream.json; 0 leaves it out")
    parser.add_argument("--today", type=datetime.date.fromisoformat, default=datetime.date.today())
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    (asked.folder / "patient.json").write_text(text(patient(asked.today)))
    (asked.folder / "metadata.json").write_text(text(metadata(asked.base)))
    with (asked.folder / "searchset.json").open("w") as out:
        bundle(out, asked.base, asked.today, count=PAGE)
    if asked.stream_bytes:
        with (asked.folder / "stream.json").open("w") as out:
            bundle(out, asked.base, asked.today, byte_count=asked.stream_bytes)


if __name__ == "__main__":
    main()

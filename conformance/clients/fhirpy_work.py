"""Ordinary work with fhirpy, unchanged: count, fetch pages, fetch all, read, follow a reference, search with an include."""

import json
import os
import sys

from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import ForbiddenError, ResourceNotFound

base, persona, lead = os.environ["BASE"], os.environ["PERSONA"], os.environ["LEAD"]
expected = int(os.environ["PATIENTS"])
client = SyncFHIRClient(base, authorization=f"Bearer {os.environ['TOKEN']}")


def must(held, what):
    if not held:
        sys.exit(f"fhirpy: {what}")


patients = client.resources("Patient").limit(2).fetch_all()
must(len(patients) == expected, f"{len(patients)} patients over all pages, expected {expected}")
must(len({p.id for p in patients}) == expected, "a patient came twice")

one_page = client.resources("Observation").limit(5).fetch()
must(len(one_page) == 5, f"{len(one_page)} observations on a page of 5")

patient = client.reference("Patient", lead).to_resource()
must(patient["name"][0]["family"], "the patient has no name")

observations = client.resources("Observation").search(patient=f"Patient/{lead}").limit(20).fetch_all()
must(observations, "no observation of the patient")
must(all(o["subject"]["reference"] == f"Patient/{lead}" for o in observations), "somebody else's observation")
again = observations[0]["subject"].to_resource()
must(again["id"] == lead, "the reference leads elsewhere")

bundle = client.resources("Encounter").search(patient=f"Patient/{lead}").include("Encounter", "patient").fetch_raw()
must(bundle["resourceType"] == "Bundle", "no Bundle")
types = {e["resource"]["resourceType"] for e in bundle["entry"]}
must(types == {"Encounter", "Patient"}, f"included: {types}")

must(client.resources("Patient").search(_id=lead).first()["id"] == lead, "the first one is another")

try:
    client.reference("Patient", "no-such-patient").to_resource()
    must(False, "a patient who is not there was found")
except ResourceNotFound:
    pass

# An exact count is for those whose view does not depend on the record.
try:
    count = client.resources("Patient").count()
    must(persona == "records-officer", "the doctor was given an exact count")
    must(count == expected, f"{count} patients counted, expected {expected}")
except ForbiddenError as refusal:
    must(persona != "records-officer", f"the count was refused: {refusal}")

if persona == "doctor":
    note = client.resource(
        "Observation",
        status="final",
        code={"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        subject={"reference": f"Patient/{lead}"},
        effectiveDateTime="2026-11-01T09:00:00Z",
        valueQuantity={"value": 61, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
    )
    note.save()
    must(note.id, "the new observation has no id")
    read = client.reference("Observation", note.id).to_resource()
    must(read["valueQuantity"]["value"] == 61, "the new observation reads otherwise")
with open(os.environ["RECEIVED"], "w", encoding="utf-8") as file:
    json.dump([patients, one_page, patient, observations, bundle], file)
print("fhirpy: done")

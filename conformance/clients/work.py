"""What the work of every Python client shares: its errand, its checks, and a file of all that it was shown."""

import json
import os
import sys


class Work:
    """The errand of one client as one persona."""

    def __init__(self, client):
        self.client = client
        self.base, self.token, self.lead = os.environ["BASE"], os.environ["TOKEN"], os.environ["LEAD"]
        self.persona, self.patients = os.environ["PERSONA"], int(os.environ["PATIENTS"])
        # Who has nothing to do with a patient writes nothing about him.
        self.stranger = os.environ["STRANGER"] if self.persona == "doctor" else None
        self._seen = []

    def must(self, held, what):
        if not held:
            sys.exit(f"{self.client} as {self.persona}: {what}")

    def received(self, what):
        self._seen.append(what)

    def observation(self, patient, value):
        return {
            "resourceType": "Observation",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
            "subject": {"reference": f"Patient/{patient}"},
            "effectiveDateTime": "2026-11-01T09:00:00Z",
            "valueQuantity": {"value": value, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
        }

    def done(self):
        with open(os.environ["RECEIVED"], "w", encoding="utf-8") as file:
            json.dump(self._seen, file)
        print(f"{self.client}: done as {self.persona}")

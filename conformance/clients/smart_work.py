"""Ordinary work with fhirclient for Python, unchanged: statement, typed read and search, all pages, create, update, refusals."""

from fhirclient.client import FHIRClient
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRNotFoundException, FHIRPermissionDeniedException

from work import Work

work = Work("fhirclient")
# The statement names no OAuth addresses, so the library signs nothing by itself: the token goes with its session.
server = FHIRClient(settings={"app_id": "conformance", "api_base": work.base}).server
server.session.headers["Authorization"] = f"Bearer {work.token}"
work.must(server.capabilityStatement.fhirVersion == "4.0.1", "no capability statement")

patients = list(Patient.where({"_count": "2"}).perform_resources_iter(server))
work.received([p.as_json() for p in patients])
work.must(len(patients) == work.patients, f"{len(patients)} patients over all pages, expected {work.patients}")
work.must(len({p.id for p in patients}) == work.patients, "a patient came twice")

patient = Patient.read(work.lead, server)
work.received(patient.as_json())
work.must(patient.id == work.lead and patient.name[0].family, "the patient reads otherwise")

search = {"patient": f"Patient/{work.lead}", "status": "final", "date": "gt1990-01-01", "_count": "10"}
observations = list(Observation.where(search).perform_resources_iter(server))
work.received([o.as_json() for o in observations])
work.must(observations, "no observation of the patient")
work.must({o.subject.reference for o in observations} == {f"Patient/{work.lead}"}, "somebody else's observation")

answer = Observation(work.observation(work.lead, 67)).create(server)
work.must(answer and answer["id"], "the new observation has no id")
stored = Observation.read(answer["id"], server)
stored.valueQuantity.value = 68
stored.update(server)
work.must(Observation.read(answer["id"], server).valueQuantity.value == 68, "the update is lost")
if work.stranger:
    try:
        Observation(work.observation(work.stranger, 67)).create(server)
        work.must(False, "a write about a stranger was not refused")
    except FHIRPermissionDeniedException:
        pass

try:
    Patient.read("no-such-patient", server)
    work.must(False, "a patient who is not there was found")
except FHIRNotFoundException:
    pass
work.done()

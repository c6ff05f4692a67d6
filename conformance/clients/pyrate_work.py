"""Ordinary work with fhir-pyrate, unchanged: pages of Bundles, data frames with FHIRPath, rows traded for records."""

import json

from fhir_pyrate import Ahoy, Pirate

from work import Work

work = Work("fhir-pyrate")
with Pirate(auth=Ahoy(token=work.token), base_url=work.base, num_processes=1) as pirate:
    bundles = list(pirate.steal_bundles("Patient", request_params={"_count": 2, "_sort": "_id"}))
    patients = [e.resource for b in bundles for e in b.entry or []]
    work.received([json.loads(b.to_json()) for b in bundles])
    work.must(len(bundles) > 1, "one page only")
    work.must(len({p.id for p in patients}) == work.patients, f"{len(patients)} patients, expected {work.patients}")

    frame = pirate.steal_bundles_to_dataframe(
        "Observation",
        request_params={"patient": f"Patient/{work.lead}", "status": "final", "_count": 10},
        fhir_paths=["id", "status", ("subject", "subject.reference")],
    )
    work.received(frame.to_dict("records"))
    work.must(len(frame) > 10, f"{len(frame)} rows over several pages of 10")
    work.must(set(frame["subject"]) == {f"Patient/{work.lead}"}, "somebody else's observation")
    work.must(set(frame["status"]) == {"final"}, "a criterion was not kept")

    rows = frame[["subject"]].drop_duplicates()
    traded = pirate.trade_rows_for_dataframe(
        rows,
        "Encounter",
        df_constraints={"subject": "subject"},
        fhir_paths=["id", ("patient", "subject.reference")],
        request_params={"_count": 10},
    )
    work.received(traded.to_dict("records"))
    work.must(set(traded["patient"]) == {f"Patient/{work.lead}"}, "somebody else's encounter")

    nobody = pirate.steal_bundles_to_dataframe("Patient", request_params={"_id": "no-such-patient"}, fhir_paths=["id"])
    work.must(len(nobody) == 0, "a patient who is not there was found")
work.done()

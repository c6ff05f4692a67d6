package client;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.rest.api.MethodOutcome;
import ca.uhn.fhir.rest.client.api.IGenericClient;
import ca.uhn.fhir.rest.client.interceptor.BearerTokenAuthInterceptor;
import ca.uhn.fhir.rest.gclient.StringClientParam;
import ca.uhn.fhir.rest.server.exceptions.ForbiddenOperationException;
import ca.uhn.fhir.rest.server.exceptions.PreconditionFailedException;
import ca.uhn.fhir.rest.server.exceptions.ResourceNotFoundException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Set;
import org.hl7.fhir.r4.model.Bundle;
import org.hl7.fhir.r4.model.CapabilityStatement;
import org.hl7.fhir.r4.model.DateTimeType;
import org.hl7.fhir.r4.model.Encounter;
import org.hl7.fhir.r4.model.IdType;
import org.hl7.fhir.r4.model.Observation;
import org.hl7.fhir.r4.model.Patient;
import org.hl7.fhir.r4.model.Quantity;

/**
 * Ordinary work with HAPI's own Java client, unchanged: statement, read, typed search with several criteria, all pages,
 * include, history, create, update under a version, refusals. What it was shown goes into the file RECEIVED.
 */
public final class Main {

    private static final StringBuilder RECEIVED = new StringBuilder();

    private static void must(boolean held, String what) {
        if (!held) {
            System.err.println("HAPI client: " + what);
            System.exit(1);
        }
    }

    private static Bundle received(FhirContext fhir, Bundle bundle) {
        RECEIVED.append(fhir.newJsonParser().encodeResourceToString(bundle)).append('\n');
        return bundle;
    }

    public static void main(String[] args) throws Exception {
        String lead = System.getenv("LEAD");
        int expected = Integer.parseInt(System.getenv("PATIENTS"));
        boolean doctor = "doctor".equals(System.getenv("PERSONA"));
        FhirContext fhir = FhirContext.forR4();
        fhir.getRestfulClientFactory().setSocketTimeout(60_000);
        IGenericClient client = fhir.newRestfulGenericClient(System.getenv("BASE"));
        client.registerInterceptor(new BearerTokenAuthInterceptor(System.getenv("TOKEN")));

        CapabilityStatement statement = client.capabilities().ofType(CapabilityStatement.class).execute();
        must("4.0.1".equals(statement.getFhirVersion().toCode()), "no capability statement");

        Set<String> ids = new HashSet<>();
        Bundle page = received(fhir, client.search().forResource(Patient.class).count(2)
                .returnBundle(Bundle.class).execute());
        int pages = 1;
        for (;;) {
            page.getEntry().forEach(e -> ids.add(e.getResource().getIdElement().getIdPart()));
            if (page.getLink(Bundle.LINK_NEXT) == null) break;
            must(++pages < 30, "pages without end");
            page = received(fhir, client.loadPage().next(page).execute());
        }
        must(ids.size() == expected, ids.size() + " patients over all pages, expected " + expected);
        must(pages > 1, "one page only");

        Patient patient = client.read().resource(Patient.class).withId(lead).execute();
        must(patient.getIdElement().getIdPart().equals(lead) && patient.getNameFirstRep().hasFamily(),
                "the patient reads otherwise");

        Bundle observations = received(fhir, client.search().forResource(Observation.class)
                .where(Observation.PATIENT.hasId("Patient/" + lead))
                .and(Observation.STATUS.exactly().code("final"))
                .and(Observation.DATE.after().day("1990-01-01"))
                .sort().descending(Observation.DATE)
                .count(20).returnBundle(Bundle.class).execute());
        must(observations.hasEntry(), "no observation of the patient");
        observations.getEntry().forEach(e -> must(
                ((Observation) e.getResource()).getSubject().getReference().endsWith("Patient/" + lead),
                "somebody else's observation"));

        Bundle encounters = received(fhir, client.search().forResource(Encounter.class)
                .where(Encounter.PATIENT.hasId("Patient/" + lead)).include(Encounter.INCLUDE_PATIENT)
                .usingStyle(ca.uhn.fhir.rest.api.SearchStyleEnum.POST)
                .returnBundle(Bundle.class).execute());
        must(encounters.getEntry().stream().anyMatch(e -> e.getResource() instanceof Patient), "nothing included");

        Bundle history = received(fhir, client.history().onInstance(new IdType("Patient", lead))
                .returnBundle(Bundle.class).execute());
        must(history.hasEntry(), "no history");

        Observation note = new Observation();
        note.setStatus(Observation.ObservationStatus.FINAL);
        note.getCode().addCoding().setSystem("http://loinc.org").setCode("8867-4");
        note.getSubject().setReference("Patient/" + lead);
        note.setEffective(new DateTimeType("2026-11-01T09:00:00Z"));
        note.setValue(new Quantity().setValue(69).setUnit("/min").setSystem("http://unitsofmeasure.org").setCode("/min"));
        MethodOutcome created = client.create().resource(note).execute();
        String id = created.getId().getIdPart();
        must(Boolean.TRUE.equals(created.getCreated()) && id != null, "not created");
        Observation stored = client.read().resource(Observation.class).withId(id).execute();
        stored.getValueQuantity().setValue(70);
        // This client sends the version that it read as `If-Match` by itself.
        MethodOutcome updated = client.update().resource(stored).execute();
        must("2".equals(updated.getId().getVersionIdPart()), "the update has no new version");
        try {
            client.update().resource(stored).execute();
            must(false, "a lost update was not told");
        } catch (PreconditionFailedException stale) {
            must(stale.getOperationOutcome() != null, "no OperationOutcome");
        }
        Observation read = client.read().resource(Observation.class).withId(id).execute();
        must(read.getValueQuantity().getValue().intValue() == 70, "the update is lost");
        if (doctor) {
            note.getSubject().setReference("Patient/" + System.getenv("STRANGER"));
            try {
                client.create().resource(note.copy()).execute();
                must(false, "a write about a stranger was not refused");
            } catch (ForbiddenOperationException refusal) {
                must(refusal.getOperationOutcome() != null, "no OperationOutcome");
            }
        }

        try {
            client.read().resource(Patient.class).withId("no-such-patient").execute();
            must(false, "a patient who is not there was found");
        } catch (ResourceNotFoundException refusal) {
            must(refusal.getOperationOutcome() != null, "no OperationOutcome");
        }
        try {
            client.search().forResource(Patient.class).where(new StringClientParam("no-such-parameter").matches().value("x"))
                    .returnBundle(Bundle.class).execute();
            must(false, "an unknown criterion was let through");
        } catch (ca.uhn.fhir.rest.server.exceptions.BaseServerResponseException refusal) {
            must(refusal.getStatusCode() >= 400 && refusal.getStatusCode() < 500, "not a refusal: " + refusal);
        }
        Files.writeString(Path.of(System.getenv("RECEIVED")), RECEIVED);
        System.out.println("HAPI client: done as " + System.getenv("PERSONA"));
    }
}

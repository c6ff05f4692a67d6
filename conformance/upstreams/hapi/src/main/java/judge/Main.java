package judge;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import ca.uhn.fhir.validation.SingleValidationMessage;
import com.google.gson.Gson;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.UnknownCodeSystemWarningValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;

/**
 * Judges FHIR bodies with HAPI's instance validator, offline: which errors does a shielded body have that the same
 * body did not have before? Usage: judge.Main PAIRS.jsonl…
 *
 * Each line is an object: `name`, `kind` (the resource type), `shielded` and `unshielded`, both bodies as texts; either
 * may be missing. A shielded body whose own unshielded one is missing (its id is a pseudonym) is held against all
 * unshielded ones of its kind; of such a Bundle, the records in it come on lines of their own. Each new error is printed
 * as one line `NEW name: error`; a summary `JUDGED …` comes last.
 */
public final class Main {

    static final class Pair {
        String name;
        String kind;
        String shielded;
        String unshielded;
    }

    private final FhirValidator validator;
    /** The errors of each body that was judged already. */
    private final Map<String, List<SingleValidationMessage>> known = new ConcurrentHashMap<>();

    private Main() {
        FhirContext fhir = FhirContext.forR4();
        var unknownCodes = new UnknownCodeSystemWarningValidationSupport(fhir);
        unknownCodes.setNonExistentCodeSystemSeverity(
                ca.uhn.fhir.context.support.IValidationSupport.IssueSeverity.WARNING);
        var chain = new ValidationSupportChain(
                new DefaultProfileValidationSupport(fhir),
                new CommonCodeSystemsTerminologyService(fhir),
                new InMemoryTerminologyServerValidationSupport(fhir),
                unknownCodes);
        var instances = new FhirInstanceValidator(chain);
        // Profiles of others are not there, and no address is looked up.
        instances.setErrorForUnknownProfiles(false);
        instances.setAnyExtensionsAllowed(true);
        validator = fhir.newValidator().registerValidatorModule(instances);
    }

    private List<SingleValidationMessage> errors(String body) {
        return known.computeIfAbsent(body, b -> validator.validateWithResult(b).getMessages().stream()
                .filter(m -> m.getSeverity() == ResultSeverityEnum.ERROR || m.getSeverity() == ResultSeverityEnum.FATAL)
                .toList());
    }

    /** What an error is, without the numbers of list items: those change where items are left out. */
    private static String key(SingleValidationMessage message) {
        String place = message.getLocationString() == null ? "" : message.getLocationString();
        return message.getMessageId() + " at " + place.replaceAll("\\[\\d+\\]", "").replaceAll("/\\*.*?\\*/", "");
    }

    private Set<String> keys(String body) {
        var keys = new HashSet<String>();
        errors(body).forEach(m -> keys.add(key(m)));
        return keys;
    }

    public static void main(String[] args) throws Exception {
        var gson = new Gson();
        var pairs = new ArrayList<Pair>();
        for (String file : args) {
            try (var lines = Files.newBufferedReader(Path.of(file))) {
                for (String line; (line = lines.readLine()) != null; ) {
                    if (!line.isBlank()) pairs.add(gson.fromJson(line, Pair.class));
                }
            }
        }
        long begun = System.nanoTime();
        var judge = new Main();
        // The definitions are read once, before the two threads share them.
        judge.errors("{\"resourceType\":\"Patient\"}");
        var threads = Executors.newFixedThreadPool(2);

        var ofKind = new ConcurrentHashMap<String, Set<String>>();
        var before = new ArrayList<Future<?>>();
        for (Pair pair : pairs) {
            if (pair.unshielded == null) continue;
            before.add(threads.submit(() -> ofKind
                    .computeIfAbsent(pair.kind, k -> ConcurrentHashMap.newKeySet())
                    .addAll(judge.keys(pair.unshielded))));
        }
        for (Future<?> one : before) one.get();

        var after = new ArrayList<Future<List<String>>>();
        for (Pair pair : pairs) {
            if (pair.shielded == null) continue;
            after.add(threads.submit(() -> {
                Set<String> had = pair.unshielded != null
                        ? judge.keys(pair.unshielded)
                        : ofKind.getOrDefault(pair.kind, Set.of());
                var found = new ArrayList<String>();
                for (SingleValidationMessage message : judge.errors(pair.shielded)) {
                    boolean judgedByItself = pair.unshielded == null && key(message).contains(" at Bundle.entry.resource");
                    if (!judgedByItself && !had.contains(key(message))) {
                        found.add(key(message) + ": " + message.getMessage().replace('\n', ' '));
                    }
                }
                return found;
            }));
        }
        int judged = 0, had = 0, fresh = 0;
        var bodies = new HashMap<String, Boolean>();
        int place = 0;
        for (Pair pair : pairs) {
            if (pair.shielded == null) continue;
            var found = after.get(place++).get();
            judged++;
            bodies.put(pair.shielded, true);
            if (!judge.errors(pair.shielded).isEmpty()) had++;
            fresh += found.size();
            for (String error : found) System.out.println("NEW " + pair.name + ": " + error);
        }
        threads.shutdown();
        System.out.printf("JUDGED pairs=%d distinct=%d with_errors=%d new_errors=%d seconds=%.1f%n",
                judged, bodies.size(), had, fresh, (System.nanoTime() - begun) / 1e9);
    }
}

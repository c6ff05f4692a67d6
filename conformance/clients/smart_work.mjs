// Ordinary work with fhirclient (SMART on FHIR's own), unchanged: statement, read, search over pages, resolved references,
// create, update under a version, refusals.
import { createRequire } from 'node:module';
import path from 'node:path';
import { work } from './work.mjs';

const require = createRequire(path.join(path.dirname(new URL(import.meta.url).pathname), '../oidc/package.json'));
const smart = require('fhirclient');

await work('fhirclient', async ({ BASE, TOKEN, LEAD, PATIENTS, must, received, reading }) => {
  const client = smart({ headers: {} }, {}, {}).client({ serverUrl: BASE, tokenResponse: { access_token: TOKEN } });

  const statement = await client.request('metadata');
  must(statement.resourceType === 'CapabilityStatement' && statement.fhirVersion === '4.0.1', 'no capability statement');

  const patients = await client.request('Patient?_count=2', { pageLimit: 0, flat: true });
  received(patients);
  const ids = new Set(patients.map((patient) => patient.id));
  must(ids.size === PATIENTS && patients.length === PATIENTS, `${ids.size} patients over all pages, expected ${PATIENTS}`);

  const patient = await client.request(`Patient/${LEAD}`);
  received(patient);
  must(patient.id === LEAD && patient.name[0].family, 'the patient reads otherwise');

  const search = `Observation?patient=Patient/${LEAD}&status=final&date=gt1990-01-01&_sort=-date&_count=5`;
  const observations = await client.request(search, { pageLimit: 0, flat: true, resolveReferences: ['subject'] });
  received(observations);
  must(observations.length > 5, `${observations.length} observations over several pages of 5`);
  must(observations.every((o) => o.subject.id === LEAD), 'a subject was not resolved to the patient');
  const dates = observations.map((o) => Date.parse(o.effectiveDateTime));
  must(dates.every((at, n) => n === 0 || at <= dates[n - 1]), 'not sorted by date');

  const created = await client.create(reading.of(LEAD, 63));
  received(created);
  must(created.id, 'the new observation has no id');
  const changed = await client.update(
    { ...created, valueQuantity: { ...created.valueQuantity, value: 64 } },
    { headers: { 'if-match': `W/"${created.meta.versionId}"` } },
  );
  must(changed.valueQuantity.value === 64 && changed.meta.versionId !== created.meta.versionId, 'the update is lost');
  const read = await client.request({ url: `Observation/${created.id}` });
  must(read.valueQuantity.value === 64, 'the changed observation reads otherwise');
  const status = (error) => error.statusCode ?? error.status;
  await reading.refused((stranger) => client.create(reading.of(stranger, 63)), status);

  const refused = await client.request('Patient/no-such-patient').then(
    () => must(false, 'a patient who is not there was found'),
    (error) => error,
  );
  must(status(refused) === 404, `not 404: ${refused}`);
});

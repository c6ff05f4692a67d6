// Ordinary work with @medplum/core, unchanged: search, pages, includes, read, create, update under a version, refusal.
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { work } from './work.mjs';

const here = path.dirname(new URL(import.meta.url).pathname);
const module = path.join(here, '../oidc/node_modules/@medplum/core/dist/esm/index.mjs');
const { MedplumClient, normalizeErrorString } = await import(pathToFileURL(module));

await work('@medplum/core', async ({ BASE, TOKEN, LEAD, PATIENTS, must, received, reading }) => {
  const base = new URL(BASE);
  const client = new MedplumClient({
    baseUrl: `${base.origin}/`,
    fhirUrlPath: base.pathname.slice(1),
    fetch,
    cacheTime: 0,
    accessToken: TOKEN,
  });

  const ids = new Set();
  let pages = 0;
  for await (const page of client.searchResourcePages('Patient', '_count=2')) {
    must((pages += 1) < 30, 'pages without end');
    received(page);
    page.forEach((patient) => ids.add(patient.id));
  }
  must(ids.size === PATIENTS, `${ids.size} patients over all pages, expected ${PATIENTS}`);
  must(pages > 1, 'one page only');

  const patient = await client.readResource('Patient', LEAD);
  received(patient);
  must(patient.id === LEAD && patient.name[0].family, 'the patient reads otherwise');
  const one = await client.searchOne('Patient', { _id: LEAD });
  must(one?.id === LEAD, 'the patient is not found by id');

  const bundle = await client.search('Encounter', { subject: `Patient/${LEAD}`, _include: 'Encounter:patient', _count: 20 });
  received(bundle);
  const types = new Set(bundle.entry.map((entry) => entry.resource.resourceType));
  must(types.has('Encounter') && types.has('Patient') && types.size === 2, `included: ${[...types]}`);

  const observations = await client.searchResources('Observation', {
    subject: `Patient/${LEAD}`,
    status: 'final',
    date: 'gt1990-01-01',
    _count: 10,
  });
  received(observations);
  must(observations.length > 0, 'no observation of the patient');
  must(observations.every((o) => o.subject.reference === `Patient/${LEAD}`), "somebody else's observation");

  const created = await client.createResource(reading.of(LEAD, 65));
  received(created);
  const changed = await client.updateResource(
    { ...created, valueQuantity: { ...created.valueQuantity, value: 66 } },
    { headers: { 'If-Match': `W/"${created.meta.versionId}"` } },
  );
  must(changed.valueQuantity.value === 66, 'the update is lost');
  const read = await client.readResource('Observation', created.id, { cache: 'reload' });
  must(read.valueQuantity.value === 66, 'the changed observation reads otherwise');
  const status = (error) => (error.outcome?.issue?.[0]?.code === 'forbidden' ? 403 : normalizeErrorString(error));
  await reading.refused((stranger) => client.createResource(reading.of(stranger, 65)), status);

  const refused = await client.readResource('Patient', 'no-such-patient').then(
    () => must(false, 'a patient who is not there was found'),
    (error) => error,
  );
  must(refused.outcome?.issue?.[0]?.code === 'not-found', `not a clear refusal: ${JSON.stringify(refused.outcome)}`);
});

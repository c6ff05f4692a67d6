// Ordinary work with fhir-kit-client, unchanged: capability statement, search, next pages, read, vread, history, refusal.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const here = path.dirname(new URL(import.meta.url).pathname);
const module = path.join(here, '../oidc/node_modules/fhir-kit-client/dist/index.js');
const kit = await import(pathToFileURL(module));
const Client = kit.Client ?? kit.default;

const { BASE, TOKEN, PERSONA, LEAD, PATIENTS, RECEIVED } = process.env;
const seen = [];
const must = (held, what) => {
  if (!held) {
    console.error(`fhir-kit-client: ${what}`);
    process.exit(1);
  }
};
const client = new Client({ baseUrl: BASE, bearerToken: TOKEN });

const statement = await client.capabilityStatement();
must(statement.resourceType === 'CapabilityStatement', 'no capability statement');

const ids = new Set();
let page = await client.search({ resourceType: 'Patient', searchParams: { _count: 2 } });
for (let pages = 0; page; pages += 1) {
  must(pages < 30, 'pages without end');
  seen.push(page);
  (page.entry ?? []).forEach((entry) => ids.add(entry.resource.id));
  const more = (page.link ?? []).some((link) => link.relation === 'next');
  page = more ? await client.nextPage({ bundle: page }) : undefined;
}
must(ids.size === Number(PATIENTS), `${ids.size} patients over all pages, expected ${PATIENTS}`);

const patient = await client.read({ resourceType: 'Patient', id: LEAD });
must(patient.id === LEAD && patient.name[0].family, 'the patient reads otherwise');
const version = await client.vread({ resourceType: 'Patient', id: LEAD, version: '1' });
must(version.id === LEAD, 'the version reads otherwise');
const history = await client.history({ resourceType: 'Patient', id: LEAD });
must(history.type === 'history' && history.entry.length > 0, 'no history');

const observations = await client.search({
  resourceType: 'Observation',
  searchParams: { patient: `Patient/${LEAD}`, _count: 10 },
});
must(observations.entry.length > 0, 'no observation of the patient');
seen.push(patient, version, history, observations);

const posted = await client.search({
  resourceType: 'Observation',
  searchParams: { patient: `Patient/${LEAD}`, _count: 3 },
  options: { postSearch: true },
});
must(posted.entry.length > 0, 'nothing found by POST');

try {
  await client.read({ resourceType: 'Patient', id: 'no-such-patient' });
  must(false, 'a patient who is not there was found');
} catch (error) {
  must(error.response?.status === 404, `not 404: ${error.response?.status} ${error}`);
  must(error.response?.data?.resourceType === 'OperationOutcome', 'no OperationOutcome');
}
fs.writeFileSync(RECEIVED, JSON.stringify(seen));
console.log(`fhir-kit-client: done as ${PERSONA}`);

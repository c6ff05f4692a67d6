// What the work of every JavaScript client shares: its errand, its checks, and a file of all that it was shown.
import fs from 'node:fs';

export async function work(client, errand) {
  const { BASE, TOKEN, PERSONA, LEAD, PATIENTS, STRANGER, RECEIVED } = process.env;
  const must = (held, what) => {
    if (!held) throw new Error(what);
  };
  const seen = [];
  const reading = {
    /** An observation about a patient. */
    of: (patient, value) => ({
      resourceType: 'Observation',
      status: 'final',
      code: { coding: [{ system: 'http://loinc.org', code: '8867-4' }] },
      subject: { reference: `Patient/${patient}` },
      effectiveDateTime: '2026-11-01T09:00:00Z',
      valueQuantity: { value, unit: '/min', system: 'http://unitsofmeasure.org', code: '/min' },
    }),
    /** Who has nothing to do with a patient writes nothing about him; the refusal must be one that the client understands. */
    refused: async (attempt, status) => {
      if (PERSONA !== 'doctor') return;
      const refusal = await attempt(STRANGER).then(
        () => must(false, 'a write about a stranger was not refused'),
        (error) => error,
      );
      must(status(refusal) === 403, `not refused with 403: ${status(refusal)}`);
    },
  };
  try {
    await errand({ BASE, TOKEN, LEAD, PATIENTS: Number(PATIENTS), must, received: (what) => seen.push(what), reading });
  } catch (error) {
    console.error(`${client} as ${PERSONA}: ${error?.stack ?? error}`);
    process.exit(1);
  }
  fs.writeFileSync(RECEIVED, JSON.stringify(seen));
  console.log(`${client}: done as ${PERSONA}`);
}

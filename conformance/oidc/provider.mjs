// Starts a real OpenID provider whose clients are the personas of the suite: provider.mjs PORT PERSONAS.json AUDIENCE
// PERSONAS.json maps a client id to the claims its access tokens carry; it is read anew for every token. The member
// `ttl_s` is no claim: it says how long tokens of that client live. Nor is `jwks`: a client that has one proves itself by
// an assertion under these keys (private_key_jwt) and has no secret. Tokens are for AUDIENCE, or for the one resource that
// a request names.
import fs from 'node:fs';
import { Provider } from 'oidc-provider';

const [port, personas, audience] = process.argv.slice(2);
const read = () => JSON.parse(fs.readFileSync(personas, 'utf8'));
const issuer = `http://127.0.0.1:${port}`;
const scope = 'system/*.cruds user/*.cruds patient/*.cruds user/*.rs patient/*.rs system/*.rs';

const provider = new Provider(issuer, {
  clientAuthMethods: ['client_secret_basic', 'private_key_jwt'],
  enabledJWA: { clientAuthSigningAlgValues: ['RS384', 'ES384'] },
  clients: Object.entries(read()).map(([client_id, { jwks }]) => ({
    client_id,
    ...(jwks
      ? { jwks, token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: jwks.keys[0].alg }
      : { client_secret: `${client_id}-secret` }),
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    scope,
  })),
  scopes: scope.split(' '),
  ttl: { ClientCredentials: (_ctx, token) => token.resourceServer.accessTokenTTL },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      useGrantedResource: () => true,
      getResourceServerInfo: (_ctx, resource, client) => ({
        scope,
        audience: resource,
        accessTokenFormat: 'jwt',
        accessTokenTTL: read()[client.clientId]?.ttl_s ?? 3600,
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  extraTokenClaims: (_ctx, token) => {
    const { ttl_s, jwks, ...claims } = read()[token.clientId] ?? {};
    return claims;
  },
});

provider.listen(Number(port), '127.0.0.1', () => console.log(`READY ${issuer}`));

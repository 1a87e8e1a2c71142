// panva's oidc-provider in front of an Active Directory: passwords are checked by an LDAP bind, claims are read by a search.
// Reads one JSON line on stdin ({port, issuer, client_id, client_secret, redirect_uris, backchannel_logout_uri, service}), and ends when stdin does.
// Each authorization request is one line on stdout, which tests count.
import { execFile } from 'node:child_process';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import Provider, { interactionPolicy } from 'oidc-provider';

const BASE = 'DC=corp,DC=example,DC=test';
// Groups in groups, by the directory's own transitive rule (LDAP_MATCHING_RULE_IN_CHAIN, [MS-ADTS] 3.1.1.3.4.4.3).
const IN_CHAIN = 'member:1.2.840.113556.1.4.1941:';
const run = promisify(execFile);
const lines = createInterface({ input: process.stdin });
lines.on('close', () => process.exit(0));
lines.once('line', (line) => serve(JSON.parse(line)));

const filtered = (text) => text.replace(/[\\*()\0]/g, (c) => `\\${c.charCodeAt(0).toString(16).padStart(2, '0')}`);

async function search(who, base, scope, filter, ...attributes) {
  const { stdout } = await run(
    'ldapsearch',
    ['-x', '-LLL', '-o', 'ldif-wrap=no', '-H', 'ldap://127.0.0.1:389', '-D', `CORP\\${who.login}`, '-w', who.password,
      '-b', base, '-s', scope, filter, ...attributes],
    { maxBuffer: 1 << 24 },
  );
  return stdout.split(/\n\n/).map(entry).filter((found) => found.dn);
}

// One entry of LDIF (RFC 2849): `name: text` or `name:: base64`.
function entry(text) {
  const found = {};
  for (const line of text.split('\n')) {
    const [, name, coded, value] = /^([\w-]+):(:?) ?(.*)$/.exec(line) ?? [];
    if (name) found[name] = coded ? Buffer.from(value, 'base64') : Buffer.from(value);
  }
  return found;
}

// An objectGUID has its first three parts in little-endian order.
function guid(bytes) {
  const hex = (from, to, reverse) => Buffer.from(reverse ? bytes.subarray(from, to).toReversed() : bytes.subarray(from, to)).toString('hex');
  return [hex(0, 4, true), hex(4, 6, true), hex(6, 8, true), hex(8, 10), hex(10, 16)].join('-');
}

async function signsIn(login, password) {
  if (!login || !password) return false;
  try {
    await search({ login, password }, '', 'base', '(objectClass=*)', 'defaultNamingContext');
    return true;
  } catch {
    return false;
  }
}

async function person(service, login) {
  const user = `(&(objectClass=user)(sAMAccountName=${filtered(login)})(!(userAccountControl:1.2.840.113556.1.4.803:=2)))`;
  const [found] = await search(service, BASE, 'sub', user, 'displayName', 'mail', 'userPrincipalName');
  if (!found) return undefined;
  const groups = await search(service, BASE, 'sub', `(&(objectClass=group)(${IN_CHAIN}=${filtered(found.dn.toString())}))`, 'objectGUID');
  return {
    name: found.displayName?.toString(),
    email: found.mail?.toString(),
    preferred_username: found.userPrincipalName?.toString(),
    upn: found.userPrincipalName?.toString(),
    groups: groups.map((group) => guid(group.objectGUID)),
  };
}

// A session of an account that is no more, or is disabled, begins anew.
function policyOfAccounts() {
  const policy = interactionPolicy.base();
  const { Check } = interactionPolicy;
  policy.get('login').checks.add(
    new Check('no_account', 'the directory has no such account', (ctx) =>
      ctx.oidc.session.accountId && !ctx.oidc.account ? Check.REQUEST_PROMPT : Check.NO_NEED_TO_PROMPT,
    ),
  );
  return policy;
}

function serve(settings) {
  const { service } = settings;
  const provider = new Provider(settings.issuer, {
    clients: [
      {
        client_id: settings.client_id,
        client_secret: settings.client_secret,
        redirect_uris: settings.redirect_uris,
        grant_types: ['authorization_code'],
        response_types: ['code'],
        backchannel_logout_uri: settings.backchannel_logout_uri,
        backchannel_logout_session_required: true,
      },
    ],
    pkce: { required: () => true },
    claims: { openid: ['sub', 'groups', 'upn', 'acr', 'amr'], profile: ['name', 'preferred_username'], email: ['email'] },
    acrValues: ['urn:password'],
    // As it comes: claims of `profile` and `email` are at userinfo, and not in the ID token.
    scopes: ['openid', 'profile', 'email'],
    features: { devInteractions: { enabled: false }, backchannelLogout: { enabled: true } },
    // The service is on loopback, which this provider would not call, and its function may start first.
    fetch: (url, { dispatcher, signal, ...options }) => globalThis.fetch(url, options),
    interactions: { policy: policyOfAccounts(), url: (_, interaction) => `/interaction/${interaction.uid}` },
    cookies: { keys: ['of-the-test'] },
    ttl: { Session: 43200, Grant: 43200, Interaction: 3600, AccessToken: 3600, IdToken: 3600, AuthorizationCode: 120 },
    findAccount: async (_, sub) => {
      const claims = await person(service, sub);
      return claims && { accountId: sub, claims: () => ({ sub, ...claims }) };
    },
    loadExistingGrant: async (ctx) => {
      if (!ctx.oidc.account) return undefined;
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid profile email');
      await grant.save();
      return grant;
    },
  });
  provider.on('server_error', (_, error) => console.error(error));
  provider.on('backchannel.error', (_, error) => console.error(error));
  provider.use(async (ctx, next) => {
    if (ctx.path === '/auth') console.log('authorization request');
    const found = /^\/interaction\/([\w-]+)$/.exec(ctx.path);
    if (!found) return next();
    let trouble = '';
    if (ctx.method === 'POST') {
      const form = await read(ctx.req);
      const login = (form.get('login') ?? '').trim().toLowerCase();
      if (await signsIn(login, form.get('password'))) {
        await provider.interactionFinished(
          ctx.req,
          ctx.res,
          { login: { accountId: login, amr: ['pwd'], acr: 'urn:password' } },
          { mergeWithLastSubmission: false },
        );
        ctx.respond = false;
        return undefined;
      }
      trouble = '<p role="alert">The directory doesn’t take this login and password.</p>';
    }
    ctx.type = 'html';
    ctx.body = `<!doctype html><html lang="en"><title>Directory</title><h1>Directory</h1>${trouble}<form method="post">
<label>Login <input name="login"></label><label>Password <input name="password" type="password"></label><button>Sign in</button></form></html>`;
    return undefined;
  });
  provider.listen(settings.port, '127.0.0.1');
}

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return new URLSearchParams(Buffer.concat(chunks).toString().slice(0, 10_000));
}

// The local identity provider: panva's oidc-provider with one login form, no consent page, and a `groups` claim.
// Reads one JSON line on stdin ({port, issuer, client_id, client_secret, redirect_uris, people}), then further lines
// {"offset_seconds": n} that move its time. Ends when stdin does.
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

let offset = 0;
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given) {
    given.length ? super(...given) : super(RealDate.now() + offset);
  }
  static now() {
    return RealDate.now() + offset;
  }
};

const lines = createInterface({ input: process.stdin });
lines.on('close', () => process.exit(0));
lines.once('line', (first) => {
  serve(JSON.parse(first));
  lines.on('line', (line) => {
    offset = JSON.parse(line).offset_seconds * 1000;
  });
});

const escaped = (text) =>
  String(text).replace(/[&<>"']/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c]);

function page(uid, people, trouble) {
  const listed = Object.entries(people)
    .map(([login, person]) => `<li><code>${escaped(login)}</code> ${escaped(person.about)}</li>`)
    .join('');
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sign in</title>
<style>
:root { color-scheme: light dark } body { font: 16px/1.5 system-ui, sans-serif; max-width: 26rem; margin: 8vh auto; padding: 0 1rem }
label { display: block; margin: .8rem 0 .2rem } input { font: inherit; width: 100%; padding: .5rem; box-sizing: border-box }
button { font: inherit; margin-top: 1.2rem; padding: .55rem 1.4rem; cursor: pointer } ul { padding-left: 1.2rem } .trouble { color: #c0392b }
</style>
<h1>Sign in</h1>
${trouble ? `<p class="trouble" role="alert">${escaped(trouble)}</p>` : ''}
<form method="post" action="/interaction/${escaped(uid)}" autocomplete="off">
<label for="login">Login</label><input id="login" name="login" required autofocus>
<label for="password">Password</label><input id="password" name="password" type="password" required>
<button type="submit">Sign in</button></form>
<p>Made-up people of the local service; each password is the name:</p><ul>${listed}</ul></html>`;
}

function serve(settings) {
  const { port, issuer, people } = settings;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: settings.client_id,
        client_secret: settings.client_secret,
        redirect_uris: settings.redirect_uris,
        post_logout_redirect_uris: settings.post_logout_redirect_uris,
        grant_types: ['authorization_code'],
        response_types: ['code'],
        ...(settings.backchannel_logout_uri && {
          backchannel_logout_uri: settings.backchannel_logout_uri,
          backchannel_logout_session_required: true,
        }),
      },
    ],
    pkce: { required: () => true },
    claims: {
      openid: ['sub', settings.groups_claim],
      profile: ['name', 'preferred_username'],
      email: ['email', 'email_verified'],
    },
    // Claims belong into the ID token, as Entra ID puts them there.
    conformIdTokenClaims: false,
    scopes: ['openid', 'profile', 'email', 'offline_access'],
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: { enabled: true },
      backchannelLogout: { enabled: Boolean(settings.backchannel_logout_uri) },
    },
    // The service is on loopback, which this provider would not call, and its function may start first.
    fetch: (url, { dispatcher, signal, ...options }) => globalThis.fetch(url, options),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    cookies: { keys: [settings.cookie_key] },
    ttl: { Session: 43200, Grant: 43200, Interaction: 3600, AccessToken: 3600, IdToken: 3600, AuthorizationCode: 120 },
    findAccount: (_, sub) => {
      const [login, person] = Object.entries(people).find(([name]) => name === sub) ?? [];
      if (!person) return undefined;
      return {
        accountId: sub,
        claims: () => ({
          sub,
          name: person.name,
          preferred_username: person.email,
          email: person.email,
          email_verified: true,
          [settings.groups_claim]: person.groups,
        }),
      };
    },
    // Everybody has consented: one organisation, one application.
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid profile email offline_access');
      await grant.save();
      return grant;
    },
    renderError: (ctx, out) => {
      ctx.type = 'html';
      ctx.body = `<!doctype html><title>Sign-in failed</title><h1>Sign-in failed</h1><p>${escaped(out.error)}: ${escaped(out.error_description ?? '')}</p>`;
    },
  });
  provider.on('server_error', (_, error) => console.error(error));
  provider.on('backchannel.error', (_, error) => console.error(error));

  provider.use(async (ctx, next) => {
    if (ctx.path === '/_local/healthz') {
      ctx.body = 'ok';
      return;
    }
    const found = /^\/interaction\/([\w-]+)$/.exec(ctx.path);
    if (!found) {
      await next();
      return;
    }
    ctx.set('cache-control', 'no-store');
    ctx.set('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    ctx.type = 'html';
    let interaction;
    try {
      interaction = await provider.interactionDetails(ctx.req, ctx.res);
    } catch {
      ctx.status = 400;
      ctx.body = '<!doctype html><title>Too late</title><h1>This sign-in has ended</h1><p>Go back to the page you came from and sign in again.</p>';
      return;
    }
    if (ctx.method !== 'POST') {
      ctx.body = page(interaction.uid, people, '');
      return;
    }
    const form = new URLSearchParams(await read(ctx.req));
    const login = (form.get('login') ?? '').trim();
    if (!Object.hasOwn(people, login) || form.get('password') !== login) {
      ctx.status = 401;
      ctx.body = page(interaction.uid, people, 'Login and password don’t match.');
      return;
    }
    await provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: login, amr: ['pwd'] } }, { mergeWithLastSubmission: false });
    ctx.respond = false;
  });

  provider.listen(port, '127.0.0.1', () => console.log(`identity provider on ${issuer}`));
}

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString().slice(0, 10_000);
}

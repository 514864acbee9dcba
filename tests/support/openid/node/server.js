// The certified provider "oidc-provider", for tests. Everybody signs in with any password.
//
//     node server.js FOLDER PORT CONFIGURATION
//
// FOLDER holds node_modules. CONFIGURATION is JSON: {"accounts": {name: claims}, "jwks": {...}}.

import path from "node:path";
import { pathToFileURL } from "node:url";

const [folder, port, text] = process.argv.slice(2);
const { accounts, jwks } = JSON.parse(text);
const library = path.join(folder, "node_modules", "oidc-provider", "lib", "index.js");
const { default: Provider } = await import(pathToFileURL(library));

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks,
  cookies: { keys: ["a key of the tests"] },
  claims: {
    openid: ["sub"],
    profile: ["name", "given_name", "family_name", "voperson_id", "eduperson_assurance"],
    email: ["email", "email_verified"],
  },
  // It tells us of a logout on loopback, which its own guard refuses.
  fetch: (url, options) => globalThis.fetch(url, { ...options, dispatcher: undefined }),
  features: {
    registration: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
  },
  findAccount: (_context, id) =>
    accounts[id] && { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));

"use strict";
// Asks the browser for a passkey, and sends the answer with the form around the button.
(() => {
  const part = document.querySelector("[data-passkey]");
  if (!part) return;
  const failed = part.querySelector("[data-failed]");
  const decode = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
  const encode = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer)))
      .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const ask = async () => {
    failed.hidden = true;
    try {
      const publicKey = JSON.parse(part.dataset.options);
      publicKey.challenge = decode(publicKey.challenge);
      if (publicKey.user) publicKey.user.id = decode(publicKey.user.id);
      for (const one of publicKey.excludeCredentials || publicKey.allowCredentials) {
        one.id = decode(one.id);
      }
      const made = await navigator.credentials[part.dataset.passkey]({ publicKey });
      const response = {};
      for (const name of
        ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
        if (made.response[name]) response[name] = encode(made.response[name]);
      }
      if (made.response.getTransports) response.transports = made.response.getTransports();
      part.querySelector("[data-answer]").value = JSON.stringify({
        id: made.id,
        rawId: encode(made.rawId),
        type: made.type,
        authenticatorAttachment: made.authenticatorAttachment,
        clientExtensionResults: made.getClientExtensionResults(),
        response,
      });
      part.closest("form").submit();
    } catch {
      failed.hidden = false;
    }
  };
  part.querySelector("button").addEventListener("click", ask);
  if ("auto" in part.dataset) ask();
})();

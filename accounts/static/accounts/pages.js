"use strict";

// The token is in the fragment of the mailed link: browsers send it to no server, so it is in no log.
const mailed = new URLSearchParams(location.hash.slice(1));
const token = mailed.get("token");
const byId = (id) => document.getElementById(id);

class Problem extends Error {
  constructor(data) {
    const details = (data.errors || []).map((error) => error.detail);
    super(details.length ? details.join("\n") : data.detail || "The server can't be reached. Try again.");
    this.code = data.code;
  }
}

async function post(path, body, access) {
  const headers = { "Content-Type": "application/json" };
  if (access) headers.Authorization = `Bearer ${access}`;
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const text = await response.text();
  let data = {};
  try {
    data = text ? JSON.parse(text) : {};
  } catch {
    // Not ours, but of a proxy in between.
  }
  if (!response.ok) throw new Problem(data);
  return data;
}

function showProblem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = false;
}

function succeed(form, text) {
  form.hidden = true;
  byId("success").textContent = text;
  byId("success").hidden = false;
}

// Show the form, and run `send(fields)` when it is submitted; its result is the sentence of success.
function use(form, send) {
  form.hidden = false;
  if (form.elements.email && mailed.has("email")) form.elements.email.value = mailed.get("email");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("[type=submit]");
    byId("problem").hidden = true;
    button.disabled = true;
    try {
      succeed(form, await send(Object.fromEntries(new FormData(form))));
    } catch (error) {
      showProblem(error instanceof Problem ? error.message : new Problem({}).message);
    } finally {
      button.disabled = false;
    }
  });
}

function useInvitation(form) {
  const { login, register, accept, logout } = form.dataset;
  form.addEventListener("change", () => {
    const isNew = form.elements.account.value === "new";
    byId("name-row").hidden = !isNew;
    form.elements.password.autocomplete = isNew ? "new-password" : "current-password";
  });
  use(form, async ({ account, email, name, password }) => {
    const isNew = account === "new";
    const signedIn = await post(
      isNew ? register : login,
      isNew ? { email, name, password, invitation: token } : { email, password },
    ).catch((error) => {
      if (error.code !== "email_unavailable") throw error;
      throw new Problem({ detail: "This address has an account. Choose to sign in." });
    });
    if (isNew) form.elements.account.value = "existing"; // should accepting fail, the account exists
    form.dispatchEvent(new Event("change"));
    try {
      const tenant = await post(accept, { token }, signedIn.access);
      return `You are now a member of ${tenant.name}, as ${tenant.role}.`;
    } finally {
      await post(logout, { refresh: signedIn.refresh }).catch(() => {});
    }
  });
}

function useReset(form) {
  use(form, async ({ password, repeated }) => {
    if (password !== repeated) throw new Problem({ detail: "The two passwords differ." });
    await post(form.dataset.action, { token, new_password: password });
    return "Your password is set, and every session has ended. Sign in with it.";
  });
}

function useConfirmation(form) {
  if (mailed.has("email")) byId("address").textContent = mailed.get("email");
  use(form, async () => {
    await post(form.dataset.action, { token });
    return "Your address is confirmed. You can sign in now.";
  });
}

const forms = { invitation: useInvitation, reset: useReset, confirmation: useConfirmation };
for (const [id, start] of Object.entries(forms)) {
  const form = byId(id);
  if (form && token) start(form);
  else if (form && !byId("reset-request")) showProblem("Open the link of the mail: this page needs its token.");
}
if (byId("reset-request") && !token) {
  const form = byId("reset-request");
  use(form, async ({ email }) => (await post(form.dataset.action, { email })).detail);
}

// One session in IndexedDB, so that it survives a reload: the recording, which is stored once, and what was made of it.

const [DATABASE, STORE] = ['dragoman', 'session'];

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function done(mode, use) {
  const database = await opened();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = use(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

export const put = (name, value) => done('readwrite', (store) => store.put(value, name));
export const get = (name) => done('readonly', (store) => store.get(name));
export const clear = () => done('readwrite', (store) => store.clear());

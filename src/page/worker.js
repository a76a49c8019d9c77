// Has the connection of all tabs that show one feed; its name ends with the feed's address.

import { serve } from "./shared.js";

const connect = serve(self.name.split(" ").at(-1));
self.onconnect = ({ ports }) => connect(ports[0]);

#!/usr/bin/python3
import json, os, sys
payload = json.load(sys.stdin)
if not payload.get("text"):
    sys.exit(print("the payload has no text", file=sys.stderr) or 65)          # final: trying again would not help
if payload["text"] == "busy":
    sys.exit(print("the dictionary is being updated", file=sys.stderr) or 75)  # try again later
os.write(3, b'{"progress":50,"status":"counting"}\n')
words = payload["text"].split()
with open(os.environ["REEVE_OUTPUT_DIR"] + "/words.txt", "w") as f:
    f.write("\n".join(words) + "\n")
json.dump({"words": len(words)}, sys.stdout)

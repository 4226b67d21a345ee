"""A DICOM node that segments what it is sent and sends the segmentations back.

receiver    answers C-ECHO and takes objects by C-STORE, within limits
inbox       received objects as files that are named by nothing but hashes
worker      the model in a process of its own, which may crash without harm
fetcher     studies of a DICOMweb archive, by QIDO and WADO
sender      segmentations back by C-STORE or STOW
dicomweb    an archive's DICOMweb service
service     the loop over these
"""
